"""The storage's URL in a file that its owner alone may read: jobs get the file's name, never the password."""

from __future__ import annotations

import stat
from pathlib import Path

from gloss_tune.atomic import write_secret
from gloss_tune.errors import InputError
from gloss_tune.logging import logger
from gloss_tune.workers.artifacts.removal import LAUNCHES


def launch_folder(artifacts: str, files: str) -> Path:
    """Where the launches of a study keep what they submit, beside its artifacts: all nodes see it."""
    return Path(artifacts) / LAUNCHES / files


def url_place(storage: str, folder: Path) -> Path:
    """Where :func:`url_file` has the URL; nothing is written."""
    given = storage.strip()
    return Path(given[1:]).expanduser().absolute() if given.startswith("@") else folder / "url"


def url_file(storage: str, folder: Path) -> Path:
    """A file with the storage's URL: the user's own where the storage was given as ``@FILE``, else one in ``folder``.

    Raises:
        InputError: the folder cannot be written to.
    """
    place = url_place(storage, folder)
    if storage.strip().startswith("@"):
        if place.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            logger.warning("Others may read %s, which holds the storage's URL: chmod 600 it.", place)
        return place
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return write_secret(place, storage.strip() + "\n")
    except OSError as error:
        raise InputError(
            f"The storage's URL is kept in {folder}, which cannot be written to: {error.strerror or error}; name "
            "another folder by --artifacts"
        ) from None
