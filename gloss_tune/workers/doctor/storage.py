"""Is the storage there, and is it safe? Only reads, and a lock that is given back at once."""

from __future__ import annotations

import contextlib
import sqlite3
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy.engine import URL

from gloss_tune.filesystem import (
    filesystem_kind,
    free_space,
    network_filesystem,
    readable_size,
    why_not_writable,
)
from gloss_tune.logging import redact
from gloss_tune.study.storage import parse_storage_url
from gloss_tune.workers.doctor.checklist import Finding

_LOCK_SECONDS = 10.0
_SLOW_SECONDS = 0.25
_FEW_CONNECTIONS = 5
_LARGEST_SKEW = 30.0
_LITTLE_SPACE = 200 * 2**20  # bytes

_OTHER_PLACE = "put the database on a local disk, or use Postgres where several machines share a study"
_POSTGRES_ADVICE = "check that the server runs, and that host, port, database, user and password are right"


@dataclass(frozen=True)
class Place:
    """A storage that answers.

    Args:
        has_tables: whether anything is in it that could be a study, ours or another tool's.
        seconds_ahead: how far this machine's clock is ahead of the database's; None where they are the same clock.
    """

    has_tables: bool
    seconds_ahead: float | None


def look_at_storage(url: str) -> Finding[Place]:
    """Whether the database answers, can be locked, and takes writes."""
    parsed = parse_storage_url(url)
    return _look_at_sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _look_at_postgres(parsed)


def _look_at_sqlite(url: URL) -> Finding[Place]:
    path = Path(str(url.database)).absolute()
    if not path.parent.is_dir():
        return Finding(f"the folder {path.parent} does not exist", "failed", "make it first")
    if kind := network_filesystem(path):
        return Finding(
            f"{path} lies on {kind}, where SQLite's locks cannot be relied on", "failed", _OTHER_PLACE
        )
    if path.is_dir():
        return Finding(f"{path} is a folder", "failed", "name a file")
    if reason := why_not_writable(path.parent):
        return Finding(
            f"the folder cannot be written to ({reason})",
            "failed",
            "mend that, or choose another folder",
        )
    around = f"{filesystem_kind(path) or 'file system unknown'}, {readable_size(free_space(path))} free"
    if not path.exists():
        return Finding(f"{path} does not exist yet, and can be made; {around}", value=Place(False, None))
    try:
        seconds, journal, has_tables = _probe_sqlite(path)
    except sqlite3.Error as error:
        return Finding(f"{path}: {error}", "failed", _sqlite_advice(error))
    found = f"{path} answers in {_milliseconds(seconds)} and can be locked; {around}"
    place = Place(has_tables, None)
    if free_space(path) < _LITTLE_SPACE:
        return Finding(found, "warning", "make room: a full disk stops every worker", place)
    if has_tables and journal != "wal":
        return Finding(
            f"{found}; journal mode {journal}, in which readers hold up writers",
            "warning",
            "while no worker runs, execute 'PRAGMA journal_mode=WAL' on it once",
            place,
        )
    return Finding(found + ("; WAL" if has_tables else ""), value=place)


def _probe_sqlite(path: Path) -> tuple[float, str, bool]:
    """Seconds for a read, journal mode, whether there are tables; the write lock is taken and given back."""
    # mode=rw: without it, SQLite would make a file that has gone meanwhile
    address = f"{path.as_uri()}?mode=rw"
    with contextlib.closing(
        sqlite3.connect(address, uri=True, timeout=_LOCK_SECONDS, isolation_level=None)
    ) as connection:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        seconds = _median_seconds(lambda: connection.execute("SELECT count(*) FROM sqlite_master").fetchone())
        (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    return seconds, str(journal), tables > 0


def _sqlite_advice(error: sqlite3.Error) -> str:
    text = str(error)
    if "locked" in text:
        return (
            f"a process has held its lock for {_LOCK_SECONDS:g} s; find one that hangs or is suspended "
            "(fuser, lsof) and end it"
        )
    if "not a database" in text:
        return "name another file by --storage"
    return "check the file's owner, permissions and disk, or restore it from a copy"


def _look_at_postgres(url: URL) -> Finding[Place]:
    shown = redact(url.set(drivername="postgresql").render_as_string(hide_password=True))
    connect = {"connect_timeout": 10, "application_name": "gloss-tune doctor", "options": "-c timezone=UTC"}
    try:
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args=connect)
        with engine.connect() as connection:
            return _probe_postgres(connection, shown)
    except ModuleNotFoundError as error:
        advice = "pip install 'gloss-tune[postgres]'"
        return Finding(f"{shown} needs the package {error.name}", "failed", advice)
    except (sqlalchemy.exc.SQLAlchemyError, ValueError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        return Finding(f"{shown}: {reason}", "failed", _POSTGRES_ADVICE)


def _probe_postgres(connection: sqlalchemy.Connection, shown: str) -> Finding[Place]:
    def ask(query: str) -> Any:
        return connection.execute(sqlalchemy.text(query)).scalar()

    version = ask("SHOW server_version")
    seconds = _median_seconds(lambda: ask("SELECT 1"))
    sent = time.time()
    there = float(ask("SELECT extract(epoch FROM clock_timestamp())"))
    ahead = (sent + time.time()) / 2 - there
    most = ask(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    )
    used = ask("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
    tables = set(sqlalchemy.inspect(connection).get_table_names())
    place = Place(bool(tables & {"studies", "trials", "version_info", "alembic_version"}), ahead)
    found = f"{shown} (Postgres {version}) answers in {_milliseconds(seconds)}; {used} of {most} connections in use"
    try:
        if "trials" in tables:  # checks the right to write as well as the server's being no standby
            connection.execute(sqlalchemy.text("SELECT 1 FROM trials LIMIT 0 FOR UPDATE"))
        elif ask("SHOW transaction_read_only") == "on":
            return Finding(f"{found}; it takes no writes", "failed", "name the primary server, not a standby")
    except sqlalchemy.exc.DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0]
        return Finding(
            f"{found}; it takes no writes from this user ({reason})",
            "failed",
            "grant the user all rights on the database, or name the primary server instead of a standby",
        )
    finally:
        connection.rollback()
    if most - used < _FEW_CONNECTIONS:
        return Finding(
            found, "warning", "raise max_connections, or run fewer workers (each may take three)", place
        )
    if seconds > _SLOW_SECONDS:
        return Finding(found, "warning", "workers wait for the storage; bring it closer to them", place)
    return Finding(found, value=place)


def look_at_clock(place: Place) -> Finding[None]:
    """How far this machine's clock is from the database's. Leases go by the latter alone."""
    if place.seconds_ahead is None:
        return Finding("the database uses this machine's clock")
    skew = abs(place.seconds_ahead)
    side = "ahead of" if place.seconds_ahead > 0 else "behind"
    found = "agrees with the database's" if skew < 1 else f"{skew:.0f} s {side} the database's"
    if skew <= _LARGEST_SKEW:
        return Finding(found)
    return Finding(
        f"{found}; leases go by the database's clock and are safe, but the times shown of trials are wrong",
        "warning",
        "set both clocks by NTP",
    )


def _median_seconds(ask: Callable[[], object]) -> float:
    def once() -> float:
        start = time.perf_counter()
        ask()
        return time.perf_counter() - start

    return statistics.median(once() for _ in range(5))


def _milliseconds(seconds: float) -> str:
    if seconds < 1e-4:
        return "less than 0.1 ms"
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds:.2f} s"
