"""From a URL to a storage that many processes may share.

SQLite: every transaction of a writer opens with ``BEGIN IMMEDIATE``, so that read-then-write steps are atomic, and
waits for the others instead of failing. Postgres: row locks, and connections are tested before use. On both, the
first start on an empty database happens once.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy
from alembic.util import CommandError
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from gloss_tune.errors import GlossTuneError, StorageError
from gloss_tune.logging import redact

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from sqlalchemy.orm import Session

_BUSY_SECONDS = 300.0
_FIRST_START_TRIES = 20
_EXAMPLES = "for example sqlite:///gloss-tune.db or postgresql://user@host/database"
# any constant will do: it names our one advisory lock in a Postgres server
_ADVISORY_LOCK = 0x676C6F7373


class LeaseLostError(GlossTuneError):
    """This worker no longer holds the trial that it tried to write to; another one may be running it."""


class SharedStorage(RDBStorage):
    """Optuna's database storage, with a fence around every write to a trial.

    A claim gives a worker an attempt number. As long as the worker is registered here as the holder, each write to
    that trial first checks, inside the same transaction and under the row's lock, that the trial is still running
    and on the same attempt; a worker that slept past its lease gets :class:`LeaseLostError` and changes nothing.
    """

    def __init__(self, url: URL, engine_kwargs: dict[str, Any], **options: Any) -> None:
        self._held: dict[int, int] = {}
        self.redacted_url = redact(url.render_as_string(hide_password=True))
        # Optuna runs the URL through str.format: braces of a path or password must survive that
        plain = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            super().__init__(plain, engine_kwargs=engine_kwargs, **options)

    def hold(self, trial_id: int, attempt: int) -> None:
        """From now on, write to this trial only while it is running on this attempt."""
        self._held[trial_id] = attempt

    def let_go(self, trial_id: int) -> None:
        """Forget that this process held the trial."""
        self._held.pop(trial_id, None)

    def check_trial_is_updatable(self, trial_id: int, trial_state: TrialState) -> None:
        """Optuna calls this inside the transaction of every write to a trial."""
        attempt = self._held.get(trial_id)
        if attempt is None:
            super().check_trial_is_updatable(trial_id, trial_state)
            return
        session = self.scoped_session()
        trial = models.TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
        session.refresh(trial)
        if trial.state != TrialState.RUNNING or number_attribute(session, trial_id, "attempts") != attempt:
            raise LeaseLostError(
                f"The lease on trial {trial.number} was lost (attempt {attempt}); its result is dropped"
            )

    def set_params(
        self, trial_id: int, params: Mapping[str, Any], space: Mapping[str, BaseDistribution]
    ) -> None:
        """Write all parameters of a trial in one transaction."""
        with self.transaction() as session:
            for name, value in params.items():
                distribution = space[name]
                self._set_trial_param_without_commit(
                    session, trial_id, name, distribution.to_internal_repr(value), distribution
                )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Session]:
        """One transaction on this thread's session: committed at the end, rolled back on any error."""
        session = self.scoped_session()
        try:
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise
        finally:
            session.close()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep every other process on this database out of the same block; released if this one dies."""
        with _exclusive(self.engine):
            yield


def number_attribute(session: Session, trial_id: int, key: str) -> int:
    """A whole number among a trial's user attributes, such as ``attempts``; 0 where there is none."""
    attribute = models.TrialUserAttributeModel
    stored = session.scalar(
        sqlalchemy.select(attribute.value_json).where(attribute.trial_id == trial_id, attribute.key == key)
    )
    return 0 if stored is None else int(stored)


def parse_storage_url(text: str) -> URL:
    """The URL, with the driver filled in.

    Raises:
        StorageError: if it is malformed, or names a database that is not supported.
    """
    try:
        url = make_url(text.strip().encode().decode())  # what is no UTF-8 is no URL
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


def _checked_sqlite(url: URL) -> URL:
    if url.database in (None, "", ":memory:") and not url.host:
        raise StorageError(f"A storage in memory cannot be shared by workers; name a file, {_EXAMPLES}")
    if url.host or url.query:
        raise StorageError(
            f"An SQLite storage is sqlite:///FILE with three slashes and no options, {_EXAMPLES}"
        )
    return url.set(drivername="sqlite")


def open_storage(text: str, *, create: bool = False, read_only: bool = False) -> SharedStorage:
    """Connect to the storage that ``text`` names.

    Args:
        text: a database URL.
        create: make the database's tables if it has none yet; without it, an empty place is an error.
        read_only: never wait for writers (SQLite).

    Raises:
        StorageError: if the URL is malformed, nothing answers there, or the database belongs to another tool or to
            an Optuna that is not installed here. Nothing was written.
    """
    url = parse_storage_url(text)
    shown = redact(url.render_as_string(hide_password=True))
    try:
        _check_place(url, shown, create)
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
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(16) != b"SQLite format 3\0":
                raise StorageError(
                    f"Storage {shown}: {path} exists and is not an SQLite database; name another file"
                )


def _open(url: URL, shown: str, *, create: bool, read_only: bool) -> SharedStorage:
    sqlite = url.get_backend_name() == "sqlite"
    if sqlite:
        kwargs: dict[str, Any] = {"connect_args": {"timeout": _BUSY_SECONDS}}
    else:
        connect = {"connect_timeout": 15, "application_name": "gloss-tune", "options": "-c timezone=UTC"}
        kwargs = {"pool_pre_ping": True, "pool_size": 3, "connect_args": connect}
    probe = sqlalchemy.create_engine(url, **kwargs)
    try:
        if not create and not _look(probe, shown):
            raise StorageError(f"Storage {shown} holds no study yet; 'gloss-tune create' makes one")
        if create and not _look(probe, shown):
            with _exclusive(probe):
                _first_start(url, kwargs)
    finally:
        probe.dispose()
    storage = SharedStorage(url, kwargs, skip_table_creation=True, skip_compatibility_check=True)
    if sqlite:
        _make_atomic(storage.engine, read_only)
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
        for name, table in models.BaseModel.metadata.tables.items()
        if name in tables
    )


def _known_revisions() -> list[str]:
    """Optuna's schema revisions, newest first."""
    import optuna.storages._rdb as package
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(package.__path__[0]) / "alembic").replace("%", "%%"))
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
    begin = "BEGIN DEFERRED" if read_only else "BEGIN IMMEDIATE"

    @event.listens_for(engine, "connect")
    def _no_implicit_begin(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql(begin)

    engine.dispose()  # connections opened before the hooks


@contextlib.contextmanager
def _exclusive(engine: sqlalchemy.Engine) -> Iterator[None]:
    if engine.dialect.name == "sqlite":
        with FileLock(f"{engine.url.database}.lock"):
            yield
        return
    with engine.connect() as connection:
        connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_lock(_ADVISORY_LOCK)))
        connection.commit()  # the lock belongs to the session; no transaction should stay open meanwhile
        try:
            yield
        finally:
            with contextlib.suppress(SQLAlchemyError):  # a dead connection has let go of its lock already
                connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_unlock(_ADVISORY_LOCK)))
                connection.commit()
