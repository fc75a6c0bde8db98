"""The budget is the queue: a study is made with all its trials waiting, and a worker only ever claims one of them.

    WAITING ──claim──▶ RUNNING ──tell──▶ COMPLETE | PRUNED | FAIL
       ▲                  │
       └──give back, reap─┘        the same row: number, parameters and reported values stay

Nobody adds a trial later, so the count is exact whoever crashes. Each step below is one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.exc import IntegrityError

from gloss_tune.study.storage import LeaseLostError, SharedStorage, number_attribute

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

# typed as Any: Optuna declares its tables without the types that an instance's fields have
_Trial: Any = models.TrialModel
_TrialAttribute = models.TrialUserAttributeModel
_Heartbeat = models.TrialHeartbeatModel

# where Study.set_metric_names keeps them
_METRIC_NAMES = "study:metric_names"


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


def create_study(
    storage: SharedStorage,
    name: str,
    attributes: Mapping[str, Any],
    budget: int,
    first_params: Sequence[Mapping[str, Any]],
    metric: str | None = None,
) -> bool:
    """Write a study with its whole budget of waiting trials, or nothing if the name is taken.

    Args:
        attributes: the study's user attributes.
        budget: how many trials the study has.
        first_params: parameters of the first trials; the others draw theirs when claimed.
        metric: name of the value, for the dashboard's axes.

    Returns:
        Whether this call made the study.
    """
    try:
        with storage.transaction() as session:
            if models.StudyModel.find_by_name(name, session) is not None:
                return False
            direction = models.StudyDirectionModel(objective=0, direction=StudyDirection.MAXIMIZE)
            study = models.StudyModel(study_name=name, directions=[direction])
            session.add(study)
            session.flush()
            session.add_all(
                models.StudyUserAttributeModel(study_id=study.study_id, key=key, value_json=json.dumps(value))
                for key, value in attributes.items()
            )
            if metric is not None:
                names = json.dumps([metric])
                session.add(
                    models.StudySystemAttributeModel(
                        study_id=study.study_id, key=_METRIC_NAMES, value_json=names
                    )
                )
            trials = [
                _Trial(study_id=study.study_id, number=number, state=TrialState.WAITING)
                for number in range(budget)
            ]
            for trial in trials:  # one by one: a key must rise with its number
                session.add(trial)
            session.flush()
            session.add_all(
                models.TrialSystemAttributeModel(
                    trial_id=trial.trial_id, key="fixed_params", value_json=json.dumps(dict(params))
                )
                for trial, params in zip(trials, first_params, strict=False)
            )
    except IntegrityError:  # another process committed the same name first
        return False
    return True


def claim(storage: SharedStorage, study_id: int, worker: str) -> Claim | None:
    """Take the waiting trial with the lowest number.

    Returns:
        The claim, or None if no trial is waiting.
    """
    with storage.transaction() as session:
        waiting = (
            sqlalchemy.select(_Trial)
            .where(_Trial.study_id == study_id, _Trial.state == TrialState.WAITING)
            .order_by(_Trial.number)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        trial = session.scalar(waiting)
        if trial is None:
            return None
        attempt = number_attribute(session, trial.trial_id, "attempts") + 1
        trial.state = TrialState.RUNNING
        trial.datetime_start = datetime.now()
        _set_attribute(session, trial.trial_id, "attempts", attempt)
        _set_attribute(session, trial.trial_id, "worker", worker)
        _beat(session, trial.trial_id)
        taken = Claim(trial.trial_id, trial.number, attempt)
    storage.hold(taken.trial_id, taken.attempt)
    return taken


def renew(storage: SharedStorage, claimed: Claim) -> bool:
    """Prolong the lease.

    Returns:
        False if the claim is no longer ours: the trial was reaped, or has ended.
    """
    with storage.transaction() as session:
        if not _is_ours(session, claimed):
            return False
        _beat(session, claimed.trial_id)
        return True


def give_back(storage: SharedStorage, claimed: Claim) -> bool:
    """Let the trial wait again under its own number; a claim that is no longer ours is left alone."""
    with storage.transaction() as session:
        trial = _is_ours(session, claimed)
        if trial:
            _requeue(trial)
    storage.let_go(claimed.trial_id)
    return bool(trial)


def reap(storage: SharedStorage, study_id: int, lease: float, max_attempts: int) -> list[int]:
    """Requeue the trials whose workers have been silent for longer than the lease, by the database's clock.

    A trial that has lost its worker ``max_attempts`` times fails with that history instead, so that one which kills
    its workers cannot hold up a study for ever. Orderly stops do not count.

    Returns:
        The numbers of the trials concerned.
    """
    reaped = []
    with storage.transaction() as session:
        deadline = database_now(session) - timedelta(seconds=lease)
        silent = (
            sqlalchemy.select(_Trial)
            .join(_Heartbeat, _Heartbeat.trial_id == _Trial.trial_id)
            .where(
                _Trial.study_id == study_id,
                _Trial.state == TrialState.RUNNING,
                _Heartbeat.heartbeat < deadline,
            )
            .with_for_update(of=_Trial, skip_locked=True)
        )
        for trial in session.scalars(silent):
            reaped.append(trial.number)
            losses = number_attribute(session, trial.trial_id, "lost_workers") + 1
            _set_attribute(session, trial.trial_id, "lost_workers", losses)
            if losses < max_attempts:
                _requeue(trial)
                continue
            reason = (
                f"WorkerLost: the trial lost its worker {losses} times, which is the limit (max_attempts)"
            )
            _set_attribute(session, trial.trial_id, "error", reason)
            trial.state = TrialState.FAIL
            trial.datetime_complete = datetime.now()
    return reaped


def forget_reports(storage: SharedStorage, claimed: Claim, after: int) -> None:
    """Drop what an earlier attempt reported after epoch ``after``: the pruner must judge the trial by where it is.

    Raises:
        LeaseLostError: the claim is no longer ours; nothing was written.
    """
    report = models.TrialIntermediateValueModel
    with storage.transaction() as session:
        if not _is_ours(session, claimed):
            raise LeaseLostError(f"The lease on trial {claimed.number} was lost")
        session.execute(
            sqlalchemy.delete(report).where(report.trial_id == claimed.trial_id, report.step > after)
        )


def finish(
    storage: SharedStorage,
    claimed: Claim,
    state: TrialState,
    value: float | None,
    attributes: Mapping[str, Any],
) -> None:
    """End a trial with its value and user attributes, all or nothing.

    Raises:
        LeaseLostError: the claim is no longer ours; nothing was written.
    """
    with storage.transaction() as session:
        trial = _is_ours(session, claimed)
        if trial is None:
            raise LeaseLostError(f"The lease on trial {claimed.number} was lost; its result is dropped")
        for key, attribute in attributes.items():
            _set_attribute(session, claimed.trial_id, key, attribute)
        if value is not None:
            session.add(
                models.TrialValueModel(
                    trial_id=claimed.trial_id, objective=0, value=value, value_type="FINITE"
                )
            )
        trial.state = state
        trial.datetime_complete = datetime.now()


def counts(storage: SharedStorage, study_id: int) -> dict[TrialState, int]:
    """How many trials are in each state; a state without trials counts 0."""
    with storage.transaction() as session:
        rows = session.execute(
            sqlalchemy.select(_Trial.state, sqlalchemy.func.count().label("trials"))
            .where(_Trial.study_id == study_id)
            .group_by(_Trial.state)
        )
        return {**dict.fromkeys(TrialState, 0), **{row.state: row.trials for row in rows}}


def _is_ours(session: Session, claimed: Claim) -> Any:
    """The claimed trial's locked row, or None if the claim was lost."""
    trial = models.TrialModel.find_or_raise_by_id(claimed.trial_id, session, for_update=True)
    ours = (
        trial.state == TrialState.RUNNING
        and number_attribute(session, claimed.trial_id, "attempts") == claimed.attempt
    )
    return trial if ours else None


def _requeue(trial: Any) -> None:
    trial.state = TrialState.WAITING
    trial.datetime_start = None


def _beat(session: Session, trial_id: int) -> None:
    heartbeat = _Heartbeat.where_trial_id(trial_id, session)
    if heartbeat is None:
        session.add(_Heartbeat(trial_id=trial_id, heartbeat=database_now(session)))
    else:
        heartbeat.heartbeat = database_now(session)


def database_now(session: Session) -> datetime:
    """The database's clock, naive UTC: workers need not agree on the time."""
    now = session.scalar(sqlalchemy.select(sqlalchemy.func.now()))
    assert now is not None
    naive: datetime = now.replace(tzinfo=None)
    return naive


def _set_attribute(session: Session, trial_id: int, key: str, value: Any) -> None:
    row = session.scalar(
        sqlalchemy.select(_TrialAttribute).where(
            _TrialAttribute.trial_id == trial_id, _TrialAttribute.key == key
        )
    )
    if row is None:
        session.add(_TrialAttribute(trial_id=trial_id, key=key, value_json=json.dumps(value)))
    else:
        row.value_json = json.dumps(value)
