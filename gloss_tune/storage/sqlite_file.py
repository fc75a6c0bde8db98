"""An SQLite file as a storage: how a URL names it, whether it can be one, and how those open it who only read.

Light on purpose: a shell that completes names asks here as well.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from gloss_tune.filesystem import nonlocal_filesystem

#: Set by ``--force``: use an SQLite file on a file system that is not local all the same; child processes inherit it.
FORCE_VARIABLE = "GLOSS_TUNE_FORCE"

_SMALLEST_PAGE = 512
# bytes 18 and 19 of the file: https://sqlite.org/fileformat.html#file_format_version_numbers
_HEADER, _WAL = 20, b"\x02\x02"


@dataclass(frozen=True)
class Fault:
    """Why a file cannot be a storage.

    Args:
        found: what is wrong, naming the file.
        advice: the next step.
    """

    found: str
    advice: str


def is_forced() -> bool:
    """Whether the user insists on SQLite where nobody vouches for its locks."""
    return os.environ.get(FORCE_VARIABLE, "").lower() not in ("", "0", "false", "no", "off")


def path_in_url(text: str) -> Path:
    """The file that a URL names by what follows its three slashes.

    ``%3F`` and the like stand for one character each, as in any URL; everything else, blanks and ``#`` included, is
    the file's name. A ``~`` at the beginning is the user's home folder.

    Raises:
        ValueError: it names no file, or none that a file system could hold.
    """
    name = unquote(text, errors="strict")
    if not name or "?" in text or any(character < " " for character in name):
        raise ValueError(text)
    try:
        return Path(name).expanduser()
    except RuntimeError as error:  # somebody's home folder that nobody knows
        raise ValueError(text) from error


def url_of(path: Path) -> str:
    """The URL that :func:`path_in_url` reads as this path."""
    return "sqlite:///" + str(path).replace("%", "%25").replace("?", "%3F")


def find_fault(path: Path, *, create: bool = False, write: bool = True) -> Fault | None:
    """Why a file cannot be a storage here; None where it can.

    Args:
        path: the file.
        create: whether it may be made now.
        write: whether it will be written to; who only reads may do so on any file system.
    """
    if not path.parent.is_dir():
        return Fault(f"the folder {path.parent} does not exist", "make it first")
    if path.is_dir():
        return Fault(f"{path} is a folder", "name a file")
    kind = nonlocal_filesystem(path) if write and not is_forced() else None
    if kind is not None:
        return Fault(
            f"{path} lies on a file system that is not known to be a local one ({kind}): on a network file system "
            "or a folder shared with other machines, SQLite loses data when several processes write",
            "use a local disk for one machine or Postgres for many; --force (GLOSS_TUNE_FORCE=1) uses it all the "
            "same, from one machine",
        )
    if not path.exists():
        if not create:
            return Fault(
                f"{path} does not exist", "'gloss-tune create' makes it, or name another by --storage"
            )
    elif not _may(path, os.R_OK):
        return Fault(
            f"{path} may not be read by this user", "fix its permissions, or name another by --storage"
        )
    elif not is_sqlite(path):
        return Fault(f"{path} exists and is not an SQLite database", "name another file by --storage")
    return _why_read_only(path) if write else None


def _why_read_only(path: Path) -> Fault | None:
    if path.exists() and not _may(path, os.W_OK):
        reason = f"permissions of the file, or a read-only file system under {path.parent}"
    elif not _may(path.parent, os.W_OK | os.X_OK):
        reason = f"permissions of the folder {path.parent}, beside whose file SQLite keeps its log"
    else:
        return None
    return Fault(
        f"{path} may only be read by this user ({reason})",
        "commands that only look (status, trials, export, compare, report --no-publish) work; for all others fix "
        "the permissions of file and folder, or copy the file to a folder of your own",
    )


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def is_sqlite(path: Path) -> bool:
    """Whether a file is a database, or empty. Asked of SQLite itself.

    Opening the file directly would be a disaster: closing it again drops every lock that this process's own
    connections hold on it, and then other processes delete the log that these still write to
    (https://sqlite.org/howtocorrupt.html, section 2.2).
    """
    size = path.stat().st_size
    if size < _SMALLEST_PAGE:  # which SQLite would take for an empty database
        return size == 0
    try:
        with contextlib.closing(sqlite3.connect(reading_address(path), uri=True)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.DatabaseError as error:
        return "not a database" not in str(error)  # another trouble is for the real connection to report
    return True


def connection_for_reading(path: Path, timeout: float) -> Callable[[], sqlite3.Connection] | None:
    """How to connect to a file that this user may not write to, leaving nothing beside it.

    Returns:
        Opens a connection; None where the file can be opened like any other, since who may write also cleans up.
    """
    if _why_read_only(path) is None:
        return None
    copies: dict[tuple[int, ...], tempfile.TemporaryDirectory[str]] = {}

    def connect() -> sqlite3.Connection:
        address = reading_address(path)
        if _left_log(path):
            address = f"{_copied(path, copies).absolute().as_uri()}?mode=rw"
        return sqlite3.connect(address, uri=True, timeout=timeout, check_same_thread=False)

    return connect


def reading_address(path: Path) -> str:
    """SQLite's address of a file for a look that leaves nothing behind.

    A look at a database with a write-ahead log makes that log and its index where they are missing, and fails where
    it may not; ``immutable`` does without them, and is right while nobody writes. Whoever is at work has both.
    """
    log, index = _beside(path)
    address = path.absolute().as_uri()
    if _why_read_only(path) is None:
        return f"{address}?mode=rw"
    if (log.exists() and index.exists()) or not _keeps_log(path):
        return f"{address}?mode=ro"
    return f"{address}?immutable=1"


def _left_log(path: Path) -> bool:
    """Whether a killed writer's log holds what the file lacks, and its index is gone, as in a copied folder."""
    log, index = _beside(path)
    return log.exists() and log.stat().st_size > 0 and not index.exists()


def _copied(path: Path, copies: dict[tuple[int, ...], tempfile.TemporaryDirectory[str]]) -> Path:
    """Where SQLite may make an index of such a log: a private copy, removed when this process ends."""
    log, _ = _beside(path)
    state = (path.stat().st_mtime_ns, path.stat().st_size, log.stat().st_mtime_ns, log.stat().st_size)
    if state not in copies:
        copies[state] = tempfile.TemporaryDirectory(prefix="gloss-tune-")
        for file in (path, log):
            shutil.copyfile(file, Path(copies[state].name) / file.name)
    return Path(copies[state].name) / path.name


def _beside(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def _keeps_log(path: Path) -> bool:
    with path.open("rb") as file:  # this process cannot write to it, and so has no lock that counts
        return file.read(_HEADER)[-2:] == _WAL
