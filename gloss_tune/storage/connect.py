"""From a URL to a storage that many processes may share.

SQLite: every transaction of a writer opens with ``BEGIN IMMEDIATE``, so that read-then-write steps are atomic, and
waits for the others instead of failing. Postgres: row locks, and connections are tested before use. On both, the
first start on an empty database happens once.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy
from alembic.util import CommandError
from optuna.exceptions import StorageInternalError
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gloss_tune.errors import GlossTuneError, StorageAwayError, StorageError
from gloss_tune.limits import files_used_up
from gloss_tune.logging import redact
from gloss_tune.storage import postgres, schema
from gloss_tune.storage.shared_storage import READS, SharedStorage
from gloss_tune.storage.sqlite_file import connection_for_reading, find_fault
from gloss_tune.storage.sqlstate import outage, reason_of, refusal, sqlstate
from gloss_tune.storage.url import engine_url, parse_storage_url, shown_url

_BUSY_SECONDS = 300.0
_FIRST_START_TRIES = 20
# another process made the same at the same time
_MADE_MEANWHILE = {"23505", "40001", "40P01", "42710", "42P07", "XX000"}
_VISIBLE_TABLES = sqlalchemy.text(
    "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND pg_table_is_visible(oid)"
)


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
        if (limit := files_used_up()) is not None:
            raise GlossTuneError(limit) from None
        reason = redact(reason_of(error.__cause__ or error))
        if outage(error) is not None:
            raise StorageAwayError(
                f"Storage {shown} cannot be opened: {reason}. Check the URL and that it is running, and try again"
            ) from None
        refused = refusal(error)
        advice = "Check the URL" if refused is None else f"Next: {refused[1]}"
        raise StorageError(f"Storage {shown} cannot be opened: {reason}. {advice}") from None


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
        own = {key: value for key, value in url.query.items() if key in postgres.CONNECT}
        kwargs = {"pool_size": 3, "connect_args": {**postgres.CONNECT, **own, **postgres.driver_options()}}
    probe = sqlalchemy.create_engine(engine_url(url), **kwargs)
    if sqlite:
        _make_atomic(probe, read_only)
    else:
        postgres.Sessions(probe)
    try:
        if not _look(probe, shown):
            if not create:
                raise StorageError(f"Storage {shown} holds no study yet; 'gloss-tune create' makes one")
            _first_start(probe)
    finally:
        probe.dispose()
    storage = SharedStorage(url, kwargs, skip_table_creation=True, skip_compatibility_check=True)
    if sqlite:
        _make_atomic(storage.engine, read_only)
    else:
        postgres.Sessions(storage.engine)
    return storage


def _look(engine: sqlalchemy.Engine, shown: str) -> bool:
    """Whether the database holds Optuna's tables, in a version that we can use; writes nothing."""
    from alembic.migration import MigrationContext

    with engine.connect().execution_options(**READS) as connection:
        # version_info is the last thing that a first start of Optuna's commits before its revision
        mine = {"studies", "trials", "version_info"}
        tables = _visible_tables(connection)
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


def _visible_tables(connection: sqlalchemy.Connection) -> set[str]:
    """Names of the tables that statements will find, on Postgres in any schema of the session's search_path."""
    if connection.dialect.name == "sqlite":
        return set(sqlalchemy.inspect(connection).get_table_names())
    return set(connection.execute(_VISIBLE_TABLES).scalars())


def _are_optunas(connection: sqlalchemy.Connection, tables: set[str]) -> bool:
    """Whether tables under Optuna's names have Optuna's columns; fewer than all are a first start that broke off."""
    inspector = sqlalchemy.inspect(connection)
    return all(
        {column.name for column in table.columns}
        <= {column["name"] for column in inspector.get_columns(name)}
        for name, table in schema.TABLES.items()
        if name in tables
    )


def check_revision(revision: str | None, shown: str) -> None:
    """Refuse tables that the Optuna here does not read, before they are anywhere.

    Raises:
        StorageError: they are of another revision.
    """
    known = _known_revisions()
    if revision == known[0]:
        return
    whose = "of an older Optuna" if revision in known else "of a newer Optuna, or of none"
    raise StorageError(
        f"{shown} holds tables {whose} (revision {revision}, here {known[0]}); use the release that made it"
    )


@functools.cache
def _known_revisions() -> list[str]:
    """Optuna's schema revisions, newest first."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(schema.REVISIONS).replace("%", "%%"))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]


def _first_start(engine: sqlalchemy.Engine) -> None:
    """Make the tables, all or none. A process without our lock (a plain Optuna) may be doing the same: look again."""
    for tries_left in reversed(range(_FIRST_START_TRIES)):
        try:
            if engine.dialect.name == "sqlite":
                # readers never wait for writers, and a commit needs no disk flush to survive a killed process
                with contextlib.closing(engine.raw_connection()) as raw:
                    raw.cursor().execute("PRAGMA journal_mode=WAL")
            with engine.begin() as connection:
                postgres.keep_others_out(connection)
                schema.create_tables(connection)
        except (DBAPIError, sqlite3.OperationalError) as error:
            meanwhile = sqlstate(error) in _MADE_MEANWHILE or engine.dialect.name == "sqlite"
            if not tries_left or not meanwhile:
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
