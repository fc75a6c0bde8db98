"""The budget: exactly the trials that a study was made with, how many of them are where, and when to stop early.

All trials are written, waiting, together with the study. Nobody adds one later, so the count is exact whoever crashes;
only a confirmation grows, by one transaction that knows what is there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import IntegrityError

from gloss_tune.queue.claims import was_claimed
from gloss_tune.storage import schema
from gloss_tune.storage.attributes import text_attribute
from gloss_tune.storage.retry import retried
from gloss_tune.storage.shared_storage import SharedStorage
from gloss_tune.storage.statements import upsert
from gloss_tune.storage.study_rows import add_finished

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_trials = schema.Trial.__table__.c
_of_study = _trials.study_id == sqlalchemy.bindparam("study")
_LOCK_STUDY = (
    sqlalchemy.select(schema.Study.study_id)
    .where(schema.Study.study_id == sqlalchemy.bindparam("study"))
    .with_for_update(key_share=True)
)
_TRIAL_COUNT = sqlalchemy.select(sqlalchemy.func.count()).where(_of_study)
_BY_STATE = (
    sqlalchemy.select(_trials.state, sqlalchemy.func.count().label("trials"))
    .where(_of_study)
    .group_by(_trials.state)
)
# the newest first: where another tool also ran trials of the budget, these are older
_FOREIGN = (
    sqlalchemy.select(_trials.state)
    .where(_of_study, _trials.state != TrialState.WAITING, ~was_claimed)
    .order_by(_trials.number.desc())
)
_UNFINISHED = sqlalchemy.select(
    *(
        sqlalchemy.select(sqlalchemy.func.count()).where(_of_study, *conditions).scalar_subquery()
        for conditions in (
            (_trials.state == TrialState.WAITING,),
            (_trials.state == TrialState.RUNNING, was_claimed),
        )
    )
)
_FAILED_AND_WAITING = sqlalchemy.select(
    sqlalchemy.select(sqlalchemy.func.count())
    .where(_of_study, _trials.state == TrialState.FAIL, was_claimed)
    .scalar_subquery()
    .label("failed"),
    sqlalchemy.exists().where(_of_study, _trials.state == TrialState.WAITING).label("waiting"),
)


def create_study(
    storage: SharedStorage,
    name: str,
    attributes: Mapping[str, Any],
    budget: int,
    first_params: Sequence[Mapping[str, Any]],
    metric: str | None = None,
    trial_attributes: Sequence[Mapping[str, Any]] = (),
    history: Sequence[FrozenTrial] = (),
) -> bool:
    """Write a study with its whole budget of waiting trials, or nothing if the name is taken.

    Args:
        attributes: the study's user attributes.
        budget: how many trials the study has.
        first_params: parameters of the first trials; the others draw theirs when claimed.
        metric: name of the value, for the dashboard's axes.
        trial_attributes: user attributes of the first trials.
        history: finished trials that the study has already; their numbers come first.

    Returns:
        Whether this call made the study.
    """
    try:
        with storage.transaction() as session:
            if schema.Study.find_by_name(name, session) is not None:
                return False
            direction = schema.StudyDirection(objective=0, direction=StudyDirection.MAXIMIZE)
            study: Any = schema.Study(study_name=name, directions=[direction])
            session.add(study)
            session.flush()
            session.add_all(
                schema.StudyUserAttribute(study_id=study.study_id, key=key, value_json=json.dumps(value))
                for key, value in attributes.items()
            )
            if metric is not None:
                names = json.dumps([metric])
                session.add(
                    schema.StudySystemAttribute(
                        study_id=study.study_id, key=schema.METRIC_NAMES, value_json=names
                    )
                )
            add_finished(session, study.study_id, history)
            numbers = range(len(history), len(history) + budget)
            add_waiting(session, study.study_id, numbers, first_params, trial_attributes)
    except IntegrityError:  # another process committed the same name first
        return False
    return True


def add_waiting(
    session: Session,
    study_id: int,
    numbers: range,
    first_params: Sequence[Mapping[str, Any]],
    attributes: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write waiting trials as part of a larger transaction.

    Args:
        numbers: theirs; nobody else may be adding any.
        first_params: parameters of the first of them.
        attributes: user attributes of the first of them.
    """
    trials = [schema.Trial(study_id=study_id, number=number, state=TrialState.WAITING) for number in numbers]
    for trial in trials:  # one by one: a key must rise with its number
        session.add(trial)
    session.flush()
    session.add_all(
        schema.TrialSystemAttribute(
            trial_id=trial.trial_id, key=schema.FIXED_PARAMS, value_json=json.dumps(dict(params))
        )
        for trial, params in zip(trials, first_params, strict=False)
        if params
    )
    session.add_all(
        schema.TrialUserAttribute(trial_id=trial.trial_id, key=key, value_json=json.dumps(value))
        for trial, known in zip(trials, attributes, strict=False)
        for key, value in known.items()
    )


@dataclass(frozen=True)
class Growth:
    """What a study is to have more.

    Args:
        attributes: of the study, as they are to be; those that are not named stay.
        params: of each new trial; an empty table where the trial draws its own.
        trial_attributes: user attributes of the first of them.
    """

    attributes: Mapping[str, Any]
    params: Sequence[Mapping[str, Any]]
    trial_attributes: Sequence[Mapping[str, Any]] = ()


@retried
def grow(
    storage: SharedStorage,
    study_id: int,
    keys: Sequence[str],
    planned: Callable[[Mapping[str, Any], int], Growth],
) -> None:
    """Queue more trials, in one transaction. Processes that do this at once come one after the other.

    Args:
        keys: names of user attributes of the study.
        planned: given these attributes and how many trials there are, as the processes before this one left them, says
            what to add; called again if the storage broke off.
    """
    with storage.transaction() as session:
        session.execute(_LOCK_STUDY, {"study": study_id})
        attribute = schema.StudyUserAttribute
        rows = session.execute(
            sqlalchemy.select(attribute.key, attribute.value_json).where(
                attribute.study_id == study_id, attribute.key.in_(keys)
            )
        )
        stored = {key: json.loads(value) for key, value in rows}
        there = session.scalar(_TRIAL_COUNT, {"study": study_id}) or 0
        growth = planned(stored, there)
        upsert(
            session,
            attribute,
            ("study_id", "key"),
            [
                {"study_id": study_id, "key": key, "value_json": json.dumps(value)}
                for key, value in growth.attributes.items()
            ],
        )
        numbers = range(there, there + len(growth.params))
        add_waiting(session, study_id, numbers, growth.params, growth.trial_attributes)


@retried
def counts(storage: SharedStorage, study_id: int, budget: int | None = None) -> dict[TrialState, int]:
    """How many trials are in each state; a state without trials counts 0.

    Args:
        budget: how many the study was made with or extended to. Trials beyond that which another tool added, and ran
            itself, are not counted; those that it only queued are, since workers run them. None to count all.
    """
    with storage.reading() as session:
        connection = session.connection()
        rows = connection.execute(_BY_STATE, {"study": study_id})
        found = {**dict.fromkeys(TrialState, 0), **{row.state: row.trials for row in rows}}
        beyond = 0 if budget is None else sum(found.values()) - budget
        if beyond > 0:
            known = {"study": study_id, "beyond": beyond}
            for state in connection.execute(_FOREIGN.limit(sqlalchemy.bindparam("beyond")), known).scalars():
                found[state] -= 1
        return found


@retried
def unfinished(storage: SharedStorage, study_id: int) -> tuple[int, int]:
    """How many trials wait, and how many are run by workers, which may be lost."""
    with storage.reading() as session:
        waiting, running = session.connection().execute(_UNFINISHED, {"study": study_id}).one()
        return waiting, running


@retried
def stop_reason(
    storage: SharedStorage, study_id: int, max_failures: int | None, max_failures_in_a_row: int
) -> str | None:
    """Why no further trial should start: too many have failed; None while all is well, or nothing is left to start.

    Args:
        max_failures: how many failed trials stop a study; None for any number.
        max_failures_in_a_row: how many of the trials that ended last, all failed, stop it.
    """
    with storage.reading() as session:
        found = session.connection().execute(_FAILED_AND_WAITING, {"study": study_id}).one()
        if not found.failed or not found.waiting:
            return None
        of_study = (schema.Trial.study_id == study_id) & was_claimed
        failed = of_study & (schema.Trial.state == TrialState.FAIL)
        # the last sign of life is by the database's clock; a trial's own times are by its worker's
        life = schema.TrialHeartbeat
        newest = (life.heartbeat.desc(), schema.Trial.trial_id.desc())
        ended = of_study & schema.Trial.state.in_([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
        row = max_failures_in_a_row
        by_time = (
            sqlalchemy.select(schema.Trial)
            .outerjoin(life, life.trial_id == schema.Trial.trial_id)
            .order_by(*newest)
        )
        last = [trial.state for trial in session.scalars(by_time.where(ended).limit(row))]
        in_a_row = last == [TrialState.FAIL] * row
        if not in_a_row and (max_failures is None or found.failed < max_failures):
            return None
        trial = session.scalars(by_time.where(failed).limit(1)).one()
        error = text_attribute(session, trial.trial_id, "error") or "an unknown error"
        rule = (
            f"{row} trials in a row have failed (max_failures_in_a_row)"
            if in_a_row
            else f"{found.failed} trials have failed (max_failures)"
        )
        return (
            f"{rule}, the last one, trial {trial.number}, with: {error}. "
            "Fix the cause; 'gloss-tune reap --failed' then requeues them"
        )
