"""A trial's state and user attributes, a statement each, as parts of larger transactions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy

from gloss_tune.storage import schema
from gloss_tune.storage.statements import upsert

if TYPE_CHECKING:
    from optuna.trial import TrialState
    from sqlalchemy.orm import Session

_trials: Any = schema.Trial.__table__.c
_attributes: Any = schema.TrialUserAttribute.__table__.c
# Statements are put together once: that takes longer than most of them run.
_STATE = sqlalchemy.select(_trials.state).where(_trials.trial_id == sqlalchemy.bindparam("trial"))
_ATTRIBUTE = sqlalchemy.select(_attributes.value_json).where(
    _attributes.trial_id == sqlalchemy.bindparam("trial"), _attributes.key == sqlalchemy.bindparam("key")
)


def trial_state(session: Session, trial_id: int) -> TrialState | None:
    """A trial's state; None if there is no such trial."""
    state: TrialState | None = session.connection().execute(_STATE, {"trial": trial_id}).scalar()
    return state


def number_attribute(session: Session, trial_id: int, key: str) -> int:
    """A whole number among a trial's user attributes, such as ``attempts``; 0 where there is none."""
    return int(number_in(_attribute(session, trial_id, key)) or 0)


def number_in(stored: str | None) -> float | None:
    """A number as an attribute holds it; None where another tool wrote something else there."""
    found = None if stored is None else json.loads(stored)
    return found if isinstance(found, int | float) and math.isfinite(found) else None


def text_attribute(session: Session, trial_id: int, key: str) -> str | None:
    """A text among a trial's user attributes, such as ``worker``; None where there is none."""
    stored = _attribute(session, trial_id, key)
    return None if stored is None else str(json.loads(stored))


def set_attributes(session: Session, trial_id: int, attributes: Mapping[str, Any]) -> None:
    """Write user attributes of a trial, each the only one of its key."""
    rows = [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        for key, value in attributes.items()
    ]
    upsert(session, schema.TrialUserAttribute, ("trial_id", "key"), rows)


def _attribute(session: Session, trial_id: int, key: str) -> str | None:
    stored: str | None = session.connection().execute(_ATTRIBUTE, {"trial": trial_id, "key": key}).scalar()
    return stored
