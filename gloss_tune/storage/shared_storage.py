"""Optuna's database storage as a study's workers need it: fenced, retried, and with transactions of our own.

**Fenced.** Each write to a claimed trial first checks, under the row's lock, that the claim still holds.
**Patient.** A database that restarts or cannot be reached is waited for (see :mod:`gloss_tune.storage.retry`).
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import URL

from gloss_tune.errors import GlossTuneError, LeaseLostError
from gloss_tune.storage import schema
from gloss_tune.storage.attributes import trial_state
from gloss_tune.storage.fencing import holds, upsert_held
from gloss_tune.storage.postgres import SINGLE, keep_others_out
from gloss_tune.storage.retry import Retry, retried
from gloss_tune.storage.statements import insert_new
from gloss_tune.storage.trial_rows import read_by_key, read_news
from gloss_tune.storage.url import engine_url, shown_url

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from sqlalchemy.orm import Session

#: Option of a connection to an SQLite file, whose next transaction only reads.
READS = {"gloss_tune_reads": True}

_trials: Any = schema.Trial.__table__.c
_studies: Any = schema.Study.__table__
# put together once: that takes longer than it runs
_LOCK_STUDY = (
    sqlalchemy.select(_studies.c.study_id)
    .join(schema.Trial, _trials.study_id == _studies.c.study_id)
    .where(_trials.trial_id == sqlalchemy.bindparam("trial"))
    .with_for_update(key_share=True, of=_studies)
)


# to repeat one of these after an answer that got lost would do it twice
_NOT_REPEATABLE = frozenset(
    {"create_new_study", "create_new_trial", "delete_study", "set_trial_state_values"}
)


def _wait_for_all_but(
    exceptions: frozenset[str],
) -> Callable[[type[SharedStorage]], type[SharedStorage]]:
    """Let what Optuna itself asks of a storage wait as well, but for these methods."""

    def decorate(storage: type[SharedStorage]) -> type[SharedStorage]:
        asked = {*BaseStorage.__abstractmethods__, "get_best_trial"}
        for name in asked - exceptions - vars(storage).keys():
            setattr(storage, name, retried(getattr(RDBStorage, name)))
        return storage

    return decorate


@_wait_for_all_but(_NOT_REPEATABLE)
class SharedStorage(RDBStorage):
    """Optuna's database storage, with a fence around every write to a trial.

    A claim gives a worker an attempt number. As long as the worker is registered here as the holder, each write to
    that trial first checks, inside the same transaction and under the row's lock, that the trial is still running
    and on the same attempt; a worker that slept past its lease gets :class:`LeaseLostError` and changes nothing.

    Attributes:
        file: of SQLite; None for Postgres.

    Args:
        url: of the database.
        engine_kwargs: for SQLAlchemy.
        options: for Optuna's storage.
    """

    def __init__(self, url: URL, engine_kwargs: dict[str, Any], **options: Any) -> None:
        self._held: dict[int, int] = {}
        self.claimed_only = False
        self._finished_only = False
        self.file = Path(str(url.database)) if url.get_backend_name() == "sqlite" else None
        self._identity: tuple[int, int] | None = None
        self.redacted_url = shown_url(url)
        self.retry = Retry(self.redacted_url)
        rendered = engine_url(url).render_as_string(hide_password=False)
        # Optuna runs the URL through str.format: braces of a path or password must survive that
        plain = rendered.replace("{", "{{").replace("}", "}}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            super().__init__(plain, engine_kwargs=engine_kwargs, **options)

    def retry_for(self, seconds: float, must_leave: Callable[[], bool], lease: float) -> None:
        """From now on, wait for the database where it is away (see :class:`gloss_tune.storage.retry.Retry`)."""
        self.retry = Retry(self.redacted_url, seconds, must_leave, lease / 4)

    @property
    def held(self) -> list[int]:
        """The trials that this process holds."""
        return list(self._held)

    def check_same_file(self) -> None:
        """Whether an SQLite file is still the one that was there at the first check; on Postgres, do nothing.

        Raises:
            GlossTuneError: it was deleted or replaced: this process still writes to the old one, which nobody sees.
        """
        if self.file is None:
            return
        try:
            found = self.file.stat()
            identity = (found.st_dev, found.st_ino)
        except FileNotFoundError:
            identity = (0, 0)
        self._identity = self._identity or identity
        if identity != self._identity:
            raise GlossTuneError(
                f"Storage {self.redacted_url} was deleted or replaced while it was in use; what was told since then "
                "is lost with it. Restore the file, and start the workers again"
            )

    @retried
    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """Where Optuna's cache reads what it does not have yet.

        A worker leaves out the rest of the budget: trials that nobody has claimed so far tell a sampler nothing, and
        reading a thousand of them for every draw takes longer than the draw. Trials are claimed in rising order, so
        that those left out come after all that the cache takes to be read.
        """
        with self.reading() as session:
            found = read_news(
                session,
                study_id,
                trial_id_greater_than,
                included_trial_ids,
                claimed_only=self.claimed_only,
                finished_only=self._finished_only,
            )
            if not found:
                schema.Study.find_or_raise_by_id(study_id, session)
        chosen = found if states is None else [trial for trial in found if trial.state in states]
        return sorted(chosen, key=lambda trial: trial.number)

    @contextlib.contextmanager
    def finished_only(self) -> Iterator[None]:
        """Within the block, what Optuna's cache reads of trials that have not ended is their state alone."""
        self._finished_only = True
        try:
            yield
        finally:
            self._finished_only = False

    @retried
    def get_trial(self, trial_id: int) -> FrozenTrial:
        """As Optuna's, in half the time."""
        with self.reading() as session:
            found = read_by_key(session, [trial_id])
        if not found:
            raise KeyError(schema.NOT_FOUND)
        return found[0]

    def hold(self, trial_id: int, attempt: int) -> None:
        """From now on, write to this trial only while it is running on this attempt."""
        self._held[trial_id] = attempt

    def forget_claim(self, trial_id: int) -> None:
        """Forget that this process held the trial."""
        self._held.pop(trial_id, None)

    def check_trial_is_updatable(self, trial_id: int, trial_state: TrialState) -> None:
        """Optuna calls this inside the transaction of every write to a trial."""
        attempt = self._held.get(trial_id)
        if attempt is None:
            super().check_trial_is_updatable(trial_id, trial_state)
        elif not holds(self.scoped_session(), trial_id, attempt):
            self._lost(trial_id, attempt)

    def _check_updatable(self, session: Session, trial_id: int) -> None:
        """The same where the state was not read yet; that of a trial that is held is not needed."""
        state = TrialState.RUNNING
        if trial_id not in self._held:
            found = trial_state(session, trial_id)
            if found is None:
                raise KeyError(schema.NOT_FOUND)
            state = found
        self.check_trial_is_updatable(trial_id, state)

    def _lost(self, trial_id: int, attempt: int) -> NoReturn:
        number = self.scoped_session().scalar(
            sqlalchemy.select(schema.Trial.number).where(schema.Trial.trial_id == trial_id)
        )
        which = "" if number is None else f" {number}"
        raise LeaseLostError(f"The lease on trial{which} was lost (attempt {attempt}); its result is dropped")

    @retried
    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """As Optuna's, in one statement instead of nine: a worker waits for it after every epoch."""
        attempt = self._held.get(trial_id)
        if attempt is None:
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)
            return
        report = schema.TrialReport
        value, kind = report.intermediate_value_to_stored_repr(intermediate_value)
        row = {
            "trial_id": trial_id,
            "step": step,
            "intermediate_value": value,
            "intermediate_value_type": kind,
        }
        self._write_held(report, ("trial_id", "step"), row, attempt)

    @retried
    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As Optuna's, in one statement instead of five; samplers write one for every draw."""
        attempt = self._held.get(trial_id)
        if attempt is None:
            super().set_trial_system_attr(trial_id, key, value)
            return
        row = {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        self._write_held(schema.TrialSystemAttribute, ("trial_id", "key"), row, attempt)

    def _write_held(self, model: Any, keys: tuple[str, ...], row: dict[str, Any], attempt: int) -> None:
        with self.single_statement() as session:
            if not upsert_held(session, model, keys, row, attempt):
                self._lost(row["trial_id"], attempt)

    @retried
    def set_params(
        self,
        trial_id: int,
        params: Mapping[str, Any],
        space: Mapping[str, BaseDistribution],
        *,
        distinct: bool = True,
    ) -> bool:
        """Write the parameters that a trial drew, all of them; those that it has already it keeps.

        Args:
            distinct: write nothing if another trial of the study has the same.

        Returns:
            False if another trial has them; others must be drawn.
        """
        trial = schema.Trial
        internal = {name: space[name].to_internal_repr(value) for name, value in params.items()}
        rows = [
            {
                "trial_id": trial_id,
                "param_name": name,
                "param_value": value,
                "distribution_json": distribution_to_json(space[name]),
            }
            for name, value in internal.items()
        ]
        with self.transaction() as session:
            # one drawing at a time may look and write (SQLite: the transaction itself sees to that)
            study_id = session.connection().execute(_LOCK_STUDY, {"trial": trial_id}).scalar()
            same = sqlalchemy.select(trial.trial_id).where(
                trial.study_id == study_id,
                trial.trial_id != trial_id,
                *(_has_param(name, value) for name, value in internal.items()),
            )
            if distinct and session.connection().execute(same.limit(1)).first() is not None:
                return False
            self._check_updatable(session, trial_id)
            insert_new(session, schema.TrialParam, ("trial_id", "param_name"), rows)
        return True

    def transaction(self) -> AbstractContextManager[Session]:
        """One transaction on this thread's session: committed at the end, rolled back on any error."""
        return self._session({})

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[Session]:
        """As :meth:`transaction`, and no other process is in such a one meanwhile."""
        with self.transaction() as session:
            keep_others_out(session.connection())
            yield session

    def single_statement(self) -> AbstractContextManager[Session]:
        """For one statement that writes: what opens and ends a transaction is not sent to the server."""
        return self._session({} if self.file else SINGLE)

    def reading(self) -> AbstractContextManager[Session]:
        """For statements that only read.

        On SQLite, they see one state and keep no writer waiting; on Postgres each sees what was committed before it, as
        in a transaction that reads what is committed, and nothing but the statements is sent to the server.
        """
        return self._session(READS if self.file else SINGLE)

    @contextlib.contextmanager
    def _session(self, options: dict[str, Any]) -> Iterator[Session]:
        session = self.scoped_session()
        session.info.clear()
        try:
            session.connection(execution_options=options)
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise
        finally:
            session.close()


def _has_param(name: str, value: float) -> sqlalchemy.ColumnElement[bool]:
    """Whether a trial drew this value, in Optuna's internal representation."""
    param = schema.TrialParam
    return (
        sqlalchemy.select(param.param_id)
        .where(
            param.trial_id == schema.Trial.trial_id,
            param.param_name == name,
            param.param_value == value,
        )
        .exists()
    )
