"""From what a user gives as a storage to a database URL that can be used, or a plain refusal."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
)

from gloss_tune.errors import StorageError
from gloss_tune.logging import redact
from gloss_tune.storage.sqlite_file import path_in_url, url_of


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
        return _checked_sqlite(url, text)
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


def _checked_sqlite(url: URL, text: str) -> URL:
    """With the file's own name as its database: all who ask where the file is get this one answer."""
    if url.database in (None, "", ":memory:") and not url.host:
        raise StorageError(f"A storage in memory cannot be shared by workers; name a file, {_EXAMPLES}")
    _, _, name = text.partition(":///")
    if url.host or "?" in name:
        raise StorageError(
            "An SQLite storage is sqlite:///FILE with three slashes and no options; a '?' of the file's name is "
            f"written %3F, {_EXAMPLES}"
        )
    try:
        return URL.create("sqlite", database=str(path_in_url(name)))
    except ValueError:
        raise StorageError(f"An SQLite storage is sqlite:///FILE, and {name!r} names no file") from None


def shown_url(url: URL) -> str:
    """A URL as people may see it and give it again: without its password."""
    if url.get_backend_name() == "sqlite":
        return redact(url_of(Path(str(url.database))))
    return redact(url.render_as_string(hide_password=True))


def shown_everywhere(text: str) -> str:
    """What a user gives as a storage, for those who read of it in another folder; without its password."""
    url = parse_storage_url(text)
    return shown_url(url.set(database=str(_file(url))) if url.get_backend_name() == "sqlite" else url)


def is_same_url(one: str, other: str) -> bool:
    """Whether two storages are one; of Postgres servers, those alone whose URLs are the same."""
    first, second = parse_storage_url(one), parse_storage_url(other)
    backends = {first.get_backend_name(), second.get_backend_name()}
    return first == second or (backends == {"sqlite"} and _file(first) == _file(second))


def _file(url: URL) -> Path:
    return Path(str(url.database)).resolve()


def engine_url(url: URL) -> URL:
    """The URL for SQLAlchemy, whose releases do not agree on what a file's name may hold: as SQLite's own address."""
    if url.get_backend_name() != "sqlite":
        return url
    return url.set(database=Path(str(url.database)).absolute().as_uri(), query={"uri": "true"})


_EXAMPLES = "for example sqlite:///gloss-tune.db or postgresql://user@host/database"


_LONGEST_URL = 10_000
