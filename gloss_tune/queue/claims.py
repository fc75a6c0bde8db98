"""The queue of trials: all wait from the start (:mod:`gloss_tune.queue.budget`); a worker claims one at a time.

    WAITING ──claim──▶ RUNNING ──tell──▶ COMPLETE | PRUNED | FAIL
       ▲                  │
       └──give back, reap─┘        the same row: number, parameters and reported values stay

Each step below is one transaction, and may be repeated when the storage broke off before it could answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy
from optuna.trial import TrialState

from gloss_tune.errors import LeaseLostError
from gloss_tune.queue.clock import NOW, database_now, keep_clock, server_started
from gloss_tune.queue.steering import IS_STEERED
from gloss_tune.storage import schema
from gloss_tune.storage.attributes import number_attribute, set_attributes, trial_state
from gloss_tune.storage.fencing import holds
from gloss_tune.storage.messages import LATER
from gloss_tune.storage.retry import retried
from gloss_tune.storage.shared_storage import SharedStorage
from gloss_tune.storage.statements import upsert

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_TrialAttribute = schema.TrialUserAttribute

# Statements are put together once: that takes longer than most of them run.
_trials = schema.Trial.__table__
_heartbeats = schema.TrialHeartbeat.__table__
#: Whether a worker of ours has ever claimed a trial; others are run by other tools.
was_claimed = sqlalchemy.exists().where(
    _TrialAttribute.trial_id == _trials.c.trial_id, _TrialAttribute.key == "attempts"
)
_trial: Any = sqlalchemy.bindparam("trial")
_CLAIMED_UNHEARD = sqlalchemy.exists().where(
    _TrialAttribute.trial_id == _trials.c.trial_id,
    _TrialAttribute.key == "worker",
    _TrialAttribute.value_json == sqlalchemy.bindparam("worker"),
) & _trials.c.trial_id.not_in(sqlalchemy.bindparam("held", expanding=True))
_CLAIMABLE = (
    sqlalchemy.select(_trials.c.trial_id, _trials.c.number)
    .where(
        _trials.c.study_id == sqlalchemy.bindparam("study"),
        (_trials.c.state == TrialState.WAITING) & ~IS_STEERED
        | (_trials.c.state == TrialState.RUNNING) & _CLAIMED_UNHEARD,
    )
    .order_by(_trials.c.number)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_BEGIN = (
    sqlalchemy.update(_trials)
    .where(_trials.c.trial_id == _trial)
    .values(state=TrialState.RUNNING, datetime_start=sqlalchemy.bindparam("start"))
    .execution_options(**LATER)
)
_END = (
    sqlalchemy.update(_trials)
    .where(_trials.c.trial_id == _trial)
    .values(state=sqlalchemy.bindparam("ended"), datetime_complete=sqlalchemy.bindparam("end"))
    .execution_options(**LATER)
)
_REQUEUE = (
    sqlalchemy.update(_trials)
    .where(_trials.c.trial_id == _trial)
    .values(state=TrialState.WAITING, datetime_start=None, datetime_complete=None)
    .execution_options(**LATER)
)


def _record_heartbeat(now: sqlalchemy.ColumnElement[Any]) -> tuple[sqlalchemy.Executable, ...]:
    """Renew a trial's heartbeat, or insert its first.

    No upsert: on Postgres each would use up a key, and a lease is renewed for as long as a trial runs.
    """
    known = sqlalchemy.exists().where(_heartbeats.c.trial_id == _trial)
    first = sqlalchemy.select(sqlalchemy.cast(_trial, sqlalchemy.Integer), now).where(~known)
    return (
        sqlalchemy.update(_heartbeats)
        .where(_heartbeats.c.trial_id == _trial)
        .values(heartbeat=now)
        .execution_options(**LATER),
        sqlalchemy.insert(_heartbeats)
        .from_select(["trial_id", "heartbeat"], first, include_defaults=False)
        .execution_options(**LATER),
    )


_BY_SERVER = _record_heartbeat(NOW)
_BY_MACHINE = _record_heartbeat(sqlalchemy.bindparam("now", type_=_heartbeats.c.heartbeat.type))
_STUDY_NAME = sqlalchemy.select(schema.Study.study_name).where(
    schema.Study.study_id == sqlalchemy.bindparam("study")
)
_REOPENING_COUNT = sqlalchemy.select(schema.StudySystemAttribute.value_json).where(
    schema.StudySystemAttribute.study_id == sqlalchemy.bindparam("study"),
    schema.StudySystemAttribute.key == sqlalchemy.bindparam("key"),
)

_REOPENINGS = "gloss_tune:revivals"


@dataclass(frozen=True)
class Claim:
    """A trial that this worker may run until its lease ends.

    Args:
        trial_id: the database's key.
        number: the trial's number in its study.
        attempt: how often it was claimed, this time included; the token that fences late writers.
    """

    trial_id: int
    number: int
    attempt: int


@retried
def claim(storage: SharedStorage, study_id: int, worker: str) -> Claim | None:
    """Take the waiting trial with the lowest number.

    A trial that is running under this worker's name without its knowing is taken as well: then the storage broke
    off after an earlier claim was written and before anyone heard of it.

    Args:
        worker: its id, used by no other worker.

    Returns:
        The claim, or None if no trial is waiting, or the study is paused or stopped.
    """
    known = {"study": study_id, "worker": json.dumps(worker), "held": storage.held}
    with storage.transaction() as session:
        connection = session.connection()
        found = connection.execute(_CLAIMABLE, known).one_or_none()
        if found is None:
            return None
        keep_clock(session)
        # read in a statement of its own: what is read under the row's lock must not be older than the lock
        attempt = number_attribute(session, found.trial_id, "attempts") + 1
        connection.execute(_BEGIN, {"trial": found.trial_id, "start": schema.stored_now()})
        set_attributes(session, found.trial_id, {"attempts": attempt, "worker": worker})
        record_heartbeat(session, found.trial_id)
        taken = Claim(found.trial_id, found.number, attempt)
    storage.hold(taken.trial_id, taken.attempt)
    return taken


def renew_lease(session: Session, claimed: Claim) -> bool:
    """Prolong the lease, as part of a larger transaction.

    Returns:
        False if the claim is no longer ours: the trial was requeued, or has ended.
    """
    if not holds(session, claimed.trial_id, claimed.attempt):
        return False
    record_heartbeat(session, claimed.trial_id)
    return True


@retried
def release(storage: SharedStorage, claimed: Claim) -> bool:
    """Let the trial wait again under its own number; a claim that is no longer ours is left alone.

    The storage goes on refusing this process's writes to the trial until it lets go of it.
    """
    with storage.transaction() as session:
        ours = holds(session, claimed.trial_id, claimed.attempt)
        if ours:
            requeue(session, claimed.trial_id)
    return ours


@retried
def delete_reports(storage: SharedStorage, claimed: Claim) -> None:
    """Drop what an earlier attempt reported: the pruner must judge the trial by where it is.

    Raises:
        LeaseLostError: the claim is no longer ours; nothing was written.
    """
    report = schema.TrialReport
    with storage.transaction() as session:
        if not holds(session, claimed.trial_id, claimed.attempt):
            raise LeaseLostError(f"The lease on trial {claimed.number} was lost")
        session.execute(sqlalchemy.delete(report).where(report.trial_id == claimed.trial_id))


@retried
def finish(
    storage: SharedStorage,
    claimed: Claim,
    state: TrialState,
    value: float | None,
    attributes: Mapping[str, Any],
    *,
    infeasible: bool = False,
) -> None:
    """End a trial with its value and user attributes, all or nothing; repeating it changes nothing.

    Args:
        infeasible: whether its hyperparameters are to blame; samplers then keep away from them.

    Raises:
        LeaseLostError: the claim is no longer ours; nothing was written.
    """
    with storage.transaction() as session:
        if not holds(session, claimed.trial_id, claimed.attempt):
            if _was_finished_so(session, claimed, state):
                return
            raise LeaseLostError(f"The lease on trial {claimed.number} was lost; its result is dropped")
        if infeasible:
            _mark_infeasible(session, claimed.trial_id)
        record_heartbeat(session, claimed.trial_id)
        set_attributes(session, claimed.trial_id, attributes)
        if value is not None:
            row = {"trial_id": claimed.trial_id, "objective": 0, "value": value, "value_type": "FINITE"}
            upsert(session, schema.TrialValue, ("trial_id", "objective"), [row])
        end(session, claimed.trial_id, state)


@retried
def study_name(storage: SharedStorage, study_id: int) -> str | None:
    """The name that a study's key has now; None if there is no such study."""
    with storage.reading() as session:
        name: str | None = session.connection().execute(_STUDY_NAME, {"study": study_id}).scalar()
        return name


def _was_finished_so(session: Session, claimed: Claim, state: TrialState) -> bool:
    """Whether this very claim ended the trial: the storage then broke off before anyone heard of it."""
    found = trial_state(session, claimed.trial_id)
    return found == state and number_attribute(session, claimed.trial_id, "attempts") == claimed.attempt


def _mark_infeasible(session: Session, trial_id: int) -> None:
    """As Optuna marks it: a constraint with a positive value is violated."""
    attribute = schema.TrialSystemAttribute
    session.execute(
        sqlalchemy.delete(attribute).where(
            attribute.trial_id == trial_id, attribute.key == schema.CONSTRAINTS
        )
    )
    session.add(attribute(trial_id=trial_id, key=schema.CONSTRAINTS, value_json=json.dumps([1.0])))


def requeue(session: Session, trial_id: int) -> None:
    """Let a trial wait for its next attempt."""
    session.connection().execute(_REQUEUE, {"trial": trial_id})


def end(session: Session, trial_id: int, state: TrialState) -> None:
    """Set the state that a trial ended in."""
    session.connection().execute(_END, {"trial": trial_id, "ended": state, "end": schema.stored_now()})


def record_heartbeat(session: Session, trial_id: int) -> None:
    """Note a sign of life of the trial's worker, by the database's clock."""
    if session.get_bind().dialect.name == "sqlite":
        statements, known = _BY_MACHINE, {"trial": trial_id, "now": database_now(session)}
    else:
        statements, known = _BY_SERVER, {"trial": trial_id}
    for statement in statements:
        session.connection().execute(statement, known)


def count_reopening(session: Session, study_id: int) -> None:
    """Trials that had ended wait again, which Optuna's cache of ended trials does not expect."""
    attribute = schema.StudySystemAttribute
    count = _reopenings(session, study_id) + 1
    session.execute(
        sqlalchemy.delete(attribute).where(attribute.study_id == study_id, attribute.key == _REOPENINGS)
    )
    session.add(attribute(study_id=study_id, key=_REOPENINGS, value_json=json.dumps(count)))


@retried
def reopenings(storage: SharedStorage, study_id: int) -> int:
    """How often trials that had ended were requeued; whatever was cached before the last time is stale."""
    with storage.reading() as session:
        return _reopenings(session, study_id)


def _reopenings(session: Session, study_id: int) -> int:
    known = {"study": study_id, "key": _REOPENINGS}
    return int(session.connection().execute(_REOPENING_COUNT, known).scalar() or 0)


def silent_claims(session: Session, study_id: int, lease: float) -> Sequence[Any]:
    """The claimed trials that nobody has renewed for a lease, or since the server's start if that was later.

    What other tools run is none of ours: it was never claimed, gives no sign of life, and is left alone.
    """
    if math.isinf(lease):
        return []
    deadline = database_now(session) - timedelta(seconds=lease)
    if server_started(session) > deadline:
        return []
    life = schema.TrialHeartbeat
    return session.scalars(
        sqlalchemy.select(schema.Trial)
        .outerjoin(life, life.trial_id == schema.Trial.trial_id)
        .where(
            schema.Trial.study_id == study_id,
            schema.Trial.state == TrialState.RUNNING,
            was_claimed,
            life.heartbeat.is_(None) | (life.heartbeat < deadline),
        )
        .order_by(schema.Trial.number)
    ).all()


def renew_early_heartbeats(session: Session, study_id: int, lease: float) -> None:
    """Take a sign of life from the future for one of now: a clock was set back, and then nobody's lease would end.

    A worker that lives renews its own anyhow; one that does not has a lease from now on.
    """
    if math.isinf(lease):
        return
    now = database_now(session)
    of_study = sqlalchemy.select(_trials.c.trial_id).where(
        _trials.c.study_id == study_id, _trials.c.state == TrialState.RUNNING
    )
    session.connection().execute(
        sqlalchemy.update(_heartbeats)
        .where(_heartbeats.c.trial_id.in_(of_study), _heartbeats.c.heartbeat > now + timedelta(seconds=lease))
        .values(heartbeat=now)
    )
