"""Where gloss-tune keeps what it can make again: downloads, tokens, the ``stdlib`` data set."""

from __future__ import annotations

import os
from pathlib import Path

from gloss_tune.atomic import write_whole


def cache_dir() -> Path:
    """The folder of this user's cache; not created here.

    Returns:
        ``GLOSS_TUNE_CACHE`` where set, else the platform's own place (``$XDG_CACHE_HOME/gloss-tune`` or
        ``~/.cache/gloss-tune`` on Linux).
    """
    chosen = os.environ.get("GLOSS_TUNE_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("gloss-tune", appauthor=False)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that a reader sees all of it or none, however many processes write it at once.

    Args:
        path: the file to write; missing parent folders are made.
        content: the whole content.

    Raises:
        OSError: the folder cannot be written to, or the disk is full; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
