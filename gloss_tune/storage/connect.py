"""From a URL to a storage that many processes may share.

SQLite: every transaction of a writer opens with ``BEGIN IMMEDIATE``, so that read-then-write steps are atomic, and
waits for the others instead of failing. Postgres: row locks, and connections are tested before use. On both, the
first start on an empty database happens once.
"""

from __future__ import annotations

import functools
import math
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
from gloss_tune.logging import redact
from gloss_tune.storage import schema
from gloss_tune.storage.shared_storage import READS, SharedStorage, exclusive
from gloss_tune.storage.sqlite_file import connection_for_reading, find_fault
from gloss_tune.storage.url import engine_url, parse_storage_url, shown_url

_BUSY_SECONDS = 300.0
_FIRST_START_TRIES = 20
_IDLE_SECONDS = 2.0
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
        read_only: never wait for writers (SQLite), write nothing, and ask nothing of the file system: a file that
            this user may only read will do.

    Raises:
        StorageError: if the URL is malformed, nothing answers there, or the database belongs to another tool or to
            an Optuna that is not installed here. Nothing was written.
    """
    url = parse_storage_url(text)
    shown = shown_url(url)
    try:
        if url.get_backend_name() == "sqlite":
            fault = find_fault(Path(str(url.database)), create=create, write=not read_only)
            if fault is not None:
                raise StorageError(f"Storage {shown}: {fault.found}; {fault.advice}")
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


def _open(url: URL, shown: str, *, create: bool, read_only: bool) -> SharedStorage:
    sqlite = url.get_backend_name() == "sqlite"
    if sqlite:
        path = Path(str(url.database))
        kwargs: dict[str, Any] = {"connect_args": {"timeout": _BUSY_SECONDS}}
        connect_reader = connection_for_reading(path, _BUSY_SECONDS) if read_only else None
        if connect_reader is not None:
            # a connection for each look: a writer may come to work meanwhile, and is read in another way
            kwargs |= {"creator": connect_reader, "poolclass": sqlalchemy.NullPool}
    else:
        options = f"{_POSTGRES['options']} {url.query.get('options', '')}".strip()
        own = {key: value for key, value in url.query.items() if key in _POSTGRES}
        connect = {**_POSTGRES, **own, "options": options}
        kwargs = {"pool_size": 3, "connect_args": connect}
    probe = sqlalchemy.create_engine(engine_url(url), **kwargs)
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
        if read_only:
            connection.execute("PRAGMA query_only=ON")

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
