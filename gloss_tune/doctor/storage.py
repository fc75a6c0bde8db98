"""Is the storage there, and is it safe? Only reads, and a lock that is given back at once."""

from __future__ import annotations

import contextlib
import sqlite3
import statistics
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy
from sqlalchemy.engine import URL

from gloss_tune.doctor.checklist import Finding, first_line
from gloss_tune.filesystem import (
    LITTLE_SPACE,
    filesystem_kind,
    free_space,
    nonlocal_filesystem,
    why_not_writable,
)
from gloss_tune.logging import redact
from gloss_tune.storage.postgres import driver_options, is_pooled
from gloss_tune.storage.sqlite_file import find_fault
from gloss_tune.storage.sqlstate import refusal
from gloss_tune.storage.url import parse_storage_url
from gloss_tune.wording import duration, size

_LOCK_SECONDS = 10.0
_SLOW_SECONDS = 0.25
_FEW_CONNECTIONS = 5
_LARGEST_SKEW = 30.0

_FORCED_PLACE = "run workers on one machine only, or put the database on a local disk, or use Postgres"
_POSTGRES_ADVICE = "check that the server runs, and that host, port, database, user and password are right"

_POSTGRES_FIGURES = sqlalchemy.text(
    "SELECT current_setting('server_version'), extract(epoch FROM clock_timestamp()),"
    " current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,"
    " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
    " current_setting('transaction_read_only') = 'on',"
    " coalesce(has_table_privilege(to_regclass('trials'), 'UPDATE'), true)"
)


@dataclass(frozen=True)
class Place:
    """A storage that answers.

    Args:
        has_tables: whether anything is in it that could be a study, ours or another tool's.
        seconds_ahead: how far this machine's clock is ahead of the database's; None where they are the same clock.
    """

    has_tables: bool
    seconds_ahead: float | None


def check_storage(url: str) -> Finding[Place]:
    """Whether the database answers, can be locked, and takes writes."""
    parsed = parse_storage_url(url)
    return _check_sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _check_postgres(parsed)


def _check_sqlite(url: URL) -> Finding[Place]:
    path = Path(str(url.database)).absolute()
    if fault := find_fault(path, create=True):
        return Finding(fault.found, "failed", fault.advice)
    if reason := why_not_writable(path.parent):
        found = f"the folder cannot be written to ({reason})"
        return Finding(found, "failed", "fix that, or choose another folder")
    free, journal, place = free_space(path), "wal", Place(False, None)
    around = f"{filesystem_kind(path) or 'file system unknown'}, {size(free)} free"
    found = f"{path} does not exist yet, and can be made; {around}"
    if path.exists():
        try:
            seconds, journal, place = _probe_sqlite(path)
        except sqlite3.Error as error:
            return Finding(f"{path}: {error}", "failed", _sqlite_advice(error))
        found = f"{path} answers in {duration(seconds)} and can be locked; {around}"
    if shared := nonlocal_filesystem(path):  # or find_fault would have told
        found += f"; use is forced on {shared}, where SQLite's locks cannot be relied on"
        return Finding(found, "warning", _FORCED_PLACE, place)
    if free < LITTLE_SPACE:
        return Finding(found, "warning", "make room: a full disk stops every worker", place)
    if journal != "wal" and place.has_tables:
        found += f"; journal mode {journal}, in which readers hold up writers"
        advice = "while no worker runs, execute 'PRAGMA journal_mode=WAL' on it once"
        return Finding(found, "warning", advice, place)
    return Finding(found + ("; WAL" if place.has_tables else ""), value=place)


def _probe_sqlite(path: Path) -> tuple[float, str, Place]:
    """Seconds for a read, journal mode, and what is there; the write lock is taken and given back."""
    # mode=rw: without it, SQLite would make a file that has gone meanwhile
    address, count_tables = f"{path.as_uri()}?mode=rw", "SELECT count(*) FROM sqlite_master"
    with contextlib.closing(sqlite3.connect(address, timeout=_LOCK_SECONDS, uri=True)) as connection:
        connection.isolation_level = None
        (tables,) = connection.execute(count_tables).fetchone()
        seconds = _seconds(lambda: connection.execute(count_tables).fetchone())
        (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    return seconds, str(journal), Place(tables > 0, None)


def _sqlite_advice(error: sqlite3.Error) -> str:
    if "locked" in str(error):
        return f"find what hangs and has held its lock for {_LOCK_SECONDS:g} s (fuser, lsof), and end it"
    if "not a database" in str(error):
        return "name another file by --storage"
    return "check the file's owner, permissions and disk, or restore it from a copy"


def _check_postgres(url: URL) -> Finding[Place]:
    shown = redact(url.set(drivername="postgresql").render_as_string(hide_password=True))
    connect = {"connect_timeout": 10, "application_name": "gloss-tune doctor", **driver_options()}
    try:
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args=connect)
        with engine.connect() as connection:
            return _probe_postgres(connection, shown)
    except ModuleNotFoundError as error:
        advice = "pip install 'gloss-tune[postgres]'"
        return Finding(f"{shown} needs the package {error.name}", "failed", advice)
    except (sqlalchemy.exc.SQLAlchemyError, ValueError) as error:
        reason = first_line(getattr(error, "orig", None) or error)
        refused = refusal(error)
        return Finding(f"{shown}: {reason}", "failed", refused[1] if refused else _POSTGRES_ADVICE)


def _probe_postgres(connection: sqlalchemy.Connection, shown: str) -> Finding[Place]:
    sent = time.time()
    version, there, most, used, read_only, may_write = connection.execute(_POSTGRES_FIGURES).one()
    ahead = (sent + time.time()) / 2 - float(there)
    seconds = _seconds(lambda: connection.execute(sqlalchemy.text("SELECT 1")))
    tables = set(sqlalchemy.inspect(connection).get_table_names())
    place = Place(bool(tables & {"studies", "trials", "version_info", "alembic_version"}), ahead)
    found = (
        f"{shown} (Postgres {version}) answers in {duration(seconds)}; {used} of {most} connections in use"
    )
    if is_pooled(connection):
        found += "; a pooler is in between, which may share connections by transaction"
    if read_only:
        return Finding(f"{found}; it takes no writes", "failed", "name the primary server, not a standby")
    if not may_write:
        return Finding(f"{found}; this user may only read", "failed", "grant it all rights on the database")
    if most - used < _FEW_CONNECTIONS:
        advice = "raise max_connections, or run fewer workers (each may take three)"
        return Finding(found, "warning", advice, place)
    if seconds > _SLOW_SECONDS:
        return Finding(found, "warning", "workers wait for the storage; bring it closer to them", place)
    return Finding(found, value=place)


def check_clock(place: Place) -> Finding[None]:
    """How far this machine's clock is from the database's. Leases go by the latter alone."""
    if place.seconds_ahead is None:
        return Finding("the database uses this machine's clock")
    skew = abs(place.seconds_ahead)
    side = "ahead of" if place.seconds_ahead > 0 else "behind"
    found = "agrees with the database's" if skew < 1 else f"{skew:.0f} s {side} the database's"
    if skew <= _LARGEST_SKEW:
        return Finding(found)
    found += "; leases go by the database's clock and are safe, but the times shown of trials are wrong"
    return Finding(found, "warning", "set both clocks by NTP")


def _seconds(ask: Callable[[], object]) -> float:
    return statistics.median(timeit.repeat(ask, number=1, repeat=5))
