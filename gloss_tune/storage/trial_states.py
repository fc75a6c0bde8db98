"""Where single trials stand, for whoever keeps files of theirs: small queries that read no history."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from optuna.storages._rdb import models
from optuna.trial import TrialState

from gloss_tune.queue.claims import Trial
from gloss_tune.storage.retry import patient
from gloss_tune.storage.shared_storage import SharedStorage

# typed as Any for the same reason as Trial
_Value: Any = models.TrialValueModel
_Attribute: Any = models.TrialUserAttributeModel
# databases limit the number of a statement's parameters
_NUMBERS_A_QUERY = 500


@dataclass(frozen=True)
class Standing:
    """Where one trial stands.

    Args:
        state: of the trial, now.
        attempt: how often it was claimed; only files of this attempt are those of its worker or of its result.
    """

    state: TrialState
    attempt: int


@patient
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
            found.update({number: Standing(state, int(attempts or 0)) for number, state, attempts in rows})
    return found


@patient
def best_complete(storage: SharedStorage, study_id: int, count: int) -> list[tuple[int, float]]:
    """Number and value of the ``count`` complete trials with the highest values, of equal ones the earlier first."""
    with storage.transaction() as session:
        rows = session.execute(
            sqlalchemy.select(Trial.number, _Value.value)
            .join(_Value, _Value.trial_id == Trial.trial_id)
            .where(Trial.study_id == study_id, Trial.state == TrialState.COMPLETE)
            .order_by(_Value.value.desc(), Trial.number)
            .limit(count)
        )
        return [(number, value) for number, value in rows]
