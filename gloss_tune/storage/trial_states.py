"""Where trials stand: small queries that read no history."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy
from optuna.trial import TrialState
from sqlalchemy.orm import Session, aliased

from gloss_tune.storage import schema
from gloss_tune.storage.attributes import number_in
from gloss_tune.storage.retry import retried
from gloss_tune.storage.schema import Trial
from gloss_tune.storage.shared_storage import SharedStorage

_Value, _Report, _Attribute = schema.TrialValue, schema.TrialReport, schema.TrialUserAttribute
# databases limit the number of a statement's parameters
_NUMBERS_A_QUERY = 500


_WAS_CLAIMED = sqlalchemy.exists().where(_Attribute.trial_id == Trial.trial_id, _Attribute.key == "attempts")


@dataclass(frozen=True)
class Standing:
    """Where one trial stands.

    Args:
        state: of the trial, now.
        attempt: how often it was claimed; only files of this attempt are those of its worker or of its result.
    """

    state: TrialState
    attempt: int


@retried
def standings(storage: SharedStorage, study_id: int, numbers: Collection[int]) -> dict[int, Standing]:
    """The standing of each of some trials, by number; a number that no trial has is left out."""
    wanted = sorted(set(numbers))
    found = {}
    with storage.transaction() as session:
        for first in range(0, len(wanted), _NUMBERS_A_QUERY):
            rows = session.execute(
                sqlalchemy.select(Trial.number, Trial.state, _Attribute.value_json)
                .outerjoin(
                    _Attribute, (_Attribute.trial_id == Trial.trial_id) & (_Attribute.key == "attempts")
                )
                .where(
                    Trial.study_id == study_id,
                    Trial.number.in_(wanted[first : first + _NUMBERS_A_QUERY]),
                )
            )
            found.update(
                {number: Standing(state, int(number_in(attempts) or 0)) for number, state, attempts in rows}
            )
    return found


@retried
def best_complete(storage: SharedStorage, study_id: int, count: int) -> list[tuple[int, float]]:
    """Number and value of the ``count`` complete trials with the highest values, of equal ones the earlier first.

    Trials that another tool ran are left out: nobody knows what their values are.
    """
    with storage.transaction() as session:
        rows = session.execute(
            sqlalchemy.select(Trial.number, _Value.value)
            .join(_Value, _Value.trial_id == Trial.trial_id)
            .where(Trial.study_id == study_id, Trial.state == TrialState.COMPLETE, _WAS_CLAIMED)
            .order_by(_Value.value.desc(), Trial.number)
            .limit(count)
        )
        return [(number, value) for number, value in rows]


@dataclass(frozen=True)
class Brief:
    """What counts, ranks and times a trial.

    Args:
        trial_id: the database's key.
        number: of the trial.
        state: of the trial.
        value: its result, None where there is none.
        seconds: how long its last attempt took, None while it has not ended.
        foreign: whether another tool ran it, such as plain Optuna: no worker has ever claimed it.
    """

    trial_id: int
    number: int
    state: TrialState
    value: float | None
    seconds: float | None
    foreign: bool = False


def read_briefly(session: Session, study_id: int) -> list[Brief]:
    """All trials of a study in one query, in the order of their numbers."""
    took, tries = _Attribute, aliased(_Attribute)
    rows = session.connection().execute(
        sqlalchemy.select(
            Trial.trial_id,
            Trial.number,
            Trial.state,
            _Value.value,
            took.value_json,
            (Trial.state != TrialState.WAITING) & tries.value_json.is_(None),
        )
        .outerjoin(_Value, _Value.trial_id == Trial.trial_id)
        .outerjoin(took, (took.trial_id == Trial.trial_id) & (took.key == "seconds"))
        .outerjoin(tries, (tries.trial_id == Trial.trial_id) & (tries.key == "attempts"))
        .where(Trial.study_id == study_id)
        .order_by(Trial.number)
    )
    return [
        Brief(key, number, state, value, number_in(seconds), foreign)
        for key, number, state, value, seconds, foreign in rows.all()
    ]


def reported_epochs(session: Session, study_id: int) -> dict[int, int]:
    """How many epochs each unfinished trial of a study has reported, by its number; those with none are left out."""
    rows = session.connection().execute(
        sqlalchemy.select(Trial.number, sqlalchemy.func.count())
        .join(_Report, _Report.trial_id == Trial.trial_id)
        .where(Trial.study_id == study_id, Trial.state.in_([TrialState.RUNNING, TrialState.WAITING]))
        .group_by(Trial.number)
    )
    return dict(rows.all())
