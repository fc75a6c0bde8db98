"""From a URL to a storage that many processes may share.

SQLite: every transaction of a writer opens with ``BEGIN IMMEDIATE``, so that read-then-write steps are atomic, and
waits for the others instead of failing. Postgres: row locks, and connections are tested before use. On both, the
first start on an empty database happens once.
"""

from __future__ import annotations

import contextlib
import functools
import math
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy
from alembic.util import CommandError
from optuna.exceptions import StorageInternalError
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.exc import (
    IntegrityError,
    InvalidatePoolError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)

from gloss_tune.errors import StorageError
from gloss_tune.filesystem import network_filesystem
from gloss_tune.logging import redact
from gloss_tune.storage import schema
from gloss_tune.storage.shared_storage import READS, SharedStorage, exclusive
from gloss_tune.storage.url import is_forced, parse_storage_url

_BUSY_SECONDS = 300.0
_FIRST_START_TRIES = 20
_IDLE_SECONDS = 2.0
_SMALLEST_PAGE = 512
# A worker that is suspended inside a transaction must not hold up the others; a silent network is a broken one.
_POSTGRES: dict[str, Any] = {
    "application_name": "gloss-tune",
    "connect_timeout": 15,
    "options": "-c timezone=UTC -c idle_in_transaction_session_timeout=30s",
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def open_storage(text: str, *, create: bool = False, read_only: bool = False) -> SharedStorage:
    """Connect to the storage that ``text`` names.

    Args:
        text: a database URL.
        create: make the database's tables if it has none yet; without it, an empty place is an error.
        read_only: never wait for writers (SQLite), and ask nothing of the file system.

    Raises:
        StorageError: if the URL is malformed, nothing answers there, or the database belongs to another tool or to
            an Optuna that is not installed here. Nothing was written.
    """
    url = parse_storage_url(text)
    shown = redact(url.render_as_string(hide_password=True))
    try:
        _check_place(url, shown, create)
        if not read_only:
            _check_filesystem(url, shown)
        return _open(url, shown, create=create, read_only=read_only)
    except ModuleNotFoundError as error:
        raise StorageError(
            f"Storage {shown} needs the package {error.name}; pip install 'gloss-tune[postgres]'"
        ) from None
    except (SQLAlchemyError, StorageInternalError, CommandError, OSError, ValueError) as error:
        reason = redact(str(getattr(error, "orig", None) or error.__cause__ or error)).strip().splitlines()[0]
        raise StorageError(
            f"Storage {shown} cannot be opened: {reason}. Check the URL and that it is running"
        ) from None


def _check_place(url: URL, shown: str, create: bool) -> None:
    if url.get_backend_name() != "sqlite":
        return
    path = Path(str(url.database))
    if not path.parent.is_dir():
        raise StorageError(f"Storage {shown}: the folder {path.parent} does not exist; make it first")
    if path.is_dir():
        raise StorageError(f"Storage {shown}: {path} is a folder; name a file")
    if not create and not path.exists():
        raise StorageError(
            f"Storage {shown} does not exist; 'gloss-tune create' makes it, or name another by --storage"
        )
    if path.exists() and path.stat().st_size and not _is_sqlite(path):
        raise StorageError(f"Storage {shown}: {path} exists and is not an SQLite database; name another file")


def _is_sqlite(path: Path) -> bool:
    """Asked of SQLite itself.

    Opening the file directly would be a disaster: closing it again drops every lock that this process's own
    connections hold on it, and then other processes delete the log that these still write to
    (https://sqlite.org/howtocorrupt.html, section 2.2).
    """
    if path.stat().st_size < _SMALLEST_PAGE:  # which SQLite would take for an empty database
        return False
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.DatabaseError as error:
        return "not a database" not in str(error)  # another trouble is for the real connection to report
    return True


def _check_filesystem(url: URL, shown: str) -> None:
    """SQLite's locks and its write-ahead log work within one machine only."""
    if url.get_backend_name() != "sqlite" or is_forced():
        return
    kind = network_filesystem(Path(str(url.database)))
    if kind is not None:
        raise StorageError(
            f"Storage {shown} lies on a network file system ({kind}), where SQLite loses data when several "
            "machines write. Use a local disk for one machine or Postgres for many; --force uses it all the same, "
            "from one machine"
        )


def _open(url: URL, shown: str, *, create: bool, read_only: bool) -> SharedStorage:
    sqlite = url.get_backend_name() == "sqlite"
    if sqlite:
        kwargs: dict[str, Any] = {"connect_args": {"timeout": _BUSY_SECONDS}}
    else:
        options = f"{_POSTGRES['options']} {url.query.get('options', '')}".strip()
        own = {key: value for key, value in url.query.items() if key in _POSTGRES}
        connect = {**_POSTGRES, **own, "options": options}
        kwargs = {"pool_size": 3, "connect_args": connect}
    probe = sqlalchemy.create_engine(url, **kwargs)
    try:
        if not create and not _look(probe, shown):
            raise StorageError(f"Storage {shown} holds no study yet; 'gloss-tune create' makes one")
        if create and not _look(probe, shown):
            with exclusive(probe):
                _first_start(url, kwargs)
    finally:
        probe.dispose()
    storage = SharedStorage(url, kwargs, skip_table_creation=True, skip_compatibility_check=True)
    if sqlite:
        _make_atomic(storage.engine, read_only)
    else:
        _test_idle(storage.engine)
    return storage


def _look(engine: sqlalchemy.Engine, shown: str) -> bool:
    """Whether the database holds Optuna's tables, in a version that we can use; writes nothing."""
    from alembic.migration import MigrationContext

    with engine.connect() as connection:
        tables = set(sqlalchemy.inspect(connection).get_table_names())
        # version_info is the last thing that a first start commits before its revision
        mine = {"studies", "trials", "version_info"}
        heads = MigrationContext.configure(connection).get_current_heads()
        revision = None if not heads else " ".join(heads)  # several only in another tool's database
        known = _known_revisions()
        if revision is not None and revision not in known:
            whose = "a newer Optuna" if mine <= tables else "another tool"
            raise StorageError(
                f"Storage {shown} was made by {whose} (its alembic_version is {revision!r}); "
                + ("upgrade optuna here" if mine <= tables else "use a database of its own for gloss-tune")
            )
        if revision is None and not _are_optunas(connection, tables):
            raise StorageError(
                f"Storage {shown} has tables of another tool ({', '.join(sorted(tables & mine))}); "
                "use a database of its own for gloss-tune"
            )
        if revision is not None and mine <= tables and revision != known[0]:
            raise StorageError(
                f"Storage {shown} was made by an older Optuna; run 'optuna storage upgrade --storage URL' first"
            )
        return mine <= tables and revision is not None


def _are_optunas(connection: sqlalchemy.Connection, tables: set[str]) -> bool:
    """Whether tables under Optuna's names have Optuna's columns; fewer than all are a first start that broke off."""
    inspector = sqlalchemy.inspect(connection)
    return all(
        {column.name for column in table.columns}
        <= {column["name"] for column in inspector.get_columns(name)}
        for name, table in schema.TABLES.items()
        if name in tables
    )


@functools.cache
def _known_revisions() -> list[str]:
    """Optuna's schema revisions, newest first."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(schema.REVISIONS).replace("%", "%%"))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]


def _first_start(url: URL, kwargs: dict[str, Any]) -> None:
    """Make the tables. A process without our lock (a plain Optuna) may be doing the same: then look again."""
    for tries_left in reversed(range(_FIRST_START_TRIES)):
        try:
            storage = SharedStorage(url, kwargs)
            if url.get_backend_name() == "sqlite":
                # readers never wait for writers, and a commit needs no disk flush to survive a killed process
                with storage.engine.connect() as connection:
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            storage.engine.dispose()
        except (OperationalError, ProgrammingError, IntegrityError, StorageInternalError):
            if not tries_left:
                raise
            time.sleep(0.1)
        else:
            return


def _make_atomic(engine: sqlalchemy.Engine, read_only: bool) -> None:
    @event.listens_for(engine, "connect")
    def _no_implicit_begin(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: sqlalchemy.Connection) -> None:
        reads = read_only or connection.get_execution_options().keys() & READS.keys()
        connection.exec_driver_sql("BEGIN DEFERRED" if reads else "BEGIN IMMEDIATE")

    engine.dispose()  # connections opened before the hooks


def _test_idle(engine: sqlalchemy.Engine) -> None:
    """Test a connection before use if it was left alone for a while: a server may have been restarted meanwhile.

    SQLAlchemy's ``pool_pre_ping`` tests before every use, which took a third of the time of all statements.
    """

    @event.listens_for(engine, "checkin")
    def _left(_connection: Any, record: Any) -> None:
        record.info["left"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _taken(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("left", math.inf) < _IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error  # which has SQLAlchemy connect anew
