"""From what a user gives as a storage to a database URL that can be used, or a plain refusal."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
)

from gloss_tune.errors import StorageError


def parse_storage_url(text: str) -> URL:
    """The URL, with the driver filled in.

    Args:
        text: the URL, or ``@FILE`` for a file that holds it, as secrets are often given to containers.

    Raises:
        StorageError: if it is malformed, names a database that is not supported, or its file cannot be read.
    """
    text = text.strip()
    if text.startswith("@"):
        text = _read_url(text[1:])
    try:
        url = make_url(text.encode().decode())  # what is no UTF-8 is no URL
    except (ArgumentError, ValueError):
        # what cannot be parsed may hold a password anywhere, so none of it is repeated
        raise StorageError(
            f"The storage must be a database URL, {_EXAMPLES}; what was given is none"
        ) from None
    backend = url.get_backend_name()
    if backend == "sqlite":
        return _checked_sqlite(url)
    if backend not in ("postgresql", "postgres"):
        raise StorageError(f"The storage must be SQLite or Postgres, {_EXAMPLES}; what was given is neither")
    if "@" in (url.host or ""):
        raise StorageError("The storage's host holds an '@'; write an '@' of the password as %40")
    return url.set(drivername="postgresql+psycopg")


def _read_url(name: str) -> str:
    try:
        with Path(name).expanduser().open(encoding="utf-8") as file:
            lines = file.read(_LONGEST_URL).split()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text file"
        raise StorageError(
            f"The storage's URL was to be read from file {name!r}, which cannot be read: {reason}"
        ) from None
    if len(lines) != 1:
        raise StorageError(f"File {name!r} must hold the storage's URL and nothing else, {_EXAMPLES}")
    return lines[0]


def _checked_sqlite(url: URL) -> URL:
    if url.database in (None, "", ":memory:") and not url.host:
        raise StorageError(f"A storage in memory cannot be shared by workers; name a file, {_EXAMPLES}")
    if url.host or url.query:
        raise StorageError(
            f"An SQLite storage is sqlite:///FILE with three slashes and no options, {_EXAMPLES}"
        )
    return url.set(drivername="sqlite")


_EXAMPLES = "for example sqlite:///gloss-tune.db or postgresql://user@host/database"


_LONGEST_URL = 10_000


#: Set by ``--force``: use an SQLite file on a network file system all the same; child processes inherit it.
FORCE_VARIABLE = "GLOSS_TUNE_FORCE"


def is_forced() -> bool:
    """Whether the user insists on SQLite on a network file system."""
    return os.environ.get(FORCE_VARIABLE, "").lower() not in ("", "0", "false", "no", "off")
