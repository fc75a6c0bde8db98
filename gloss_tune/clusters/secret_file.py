"""The storage's URL in a file that its owner alone may read: jobs get the file's name, never the password."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gloss_tune.atomic import part_beside
from gloss_tune.errors import InputError
from gloss_tune.logging import logger

_OWNER_ALONE = 0o600


def launch_folder(artifacts: str, files: str) -> Path:
    """Where the launches of a study keep what they submit, beside its artifacts: all nodes see it."""
    return Path(artifacts) / "launch" / files


def url_file(storage: str, folder: Path) -> Path:
    """A file with the storage's URL: the user's own where the storage was given as ``@FILE``, else one in ``folder``.

    Raises:
        InputError: the folder cannot be written to.
    """
    if storage.strip().startswith("@"):
        own = Path(storage.strip()[1:]).expanduser().absolute()
        if own.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            logger.warning("Others may read %s, which holds the storage's URL: chmod 600 it.", own)
        return own
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return write_secret(folder / "url", storage.strip() + "\n")
    except OSError as error:
        raise InputError(
            f"The storage's URL is kept in {folder}, which cannot be written to: {error.strerror or error}; name "
            "another folder by --artifacts"
        ) from None


def write_secret(path: Path, content: str) -> Path:
    """Replace a file in one step by one that its owner alone may read, from its first byte on."""
    part = part_beside(path)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ALONE)
    try:
        os.fchmod(descriptor, _OWNER_ALONE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return path
