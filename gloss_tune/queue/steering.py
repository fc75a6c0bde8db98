"""What a person asks of all workers of a study, from wherever the storage is reached: to pause, or to stop.

It is one user attribute of the study, so that the dashboard shows it too. No trial is claimed while it is there;
workers learn of it with their heartbeats.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Any

import sqlalchemy

from gloss_tune.storage import schema
from gloss_tune.storage.retry import retried
from gloss_tune.storage.shared_storage import SharedStorage
from gloss_tune.storage.statements import upsert

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class Steering(str, Enum):
    """What is asked: running trials finish their epoch and wait again. Then the workers wait too, or leave."""

    paused = "paused"
    stopped = "stopped"


#: The study's user attribute.
STEERING = "gloss_tune:steering"

_attributes: Any = schema.StudyUserAttribute.__table__.c
_OF_STUDY = (_attributes.study_id == sqlalchemy.bindparam("study")) & (_attributes.key == STEERING)
_READ = sqlalchemy.select(_attributes.value_json).where(_OF_STUDY)
#: Part of a statement with a parameter ``study``: whether its workers are to begin nothing.
IS_STEERED = sqlalchemy.exists().where(
    _OF_STUDY, _attributes.value_json.in_([json.dumps(steering.value) for steering in Steering])
)


def steering_of(session: Session, study_id: int) -> Steering | None:
    """:func:`read_steering` as part of a larger transaction."""
    stored = session.connection().execute(_READ, {"study": study_id}).scalar()
    known = {json.dumps(steering.value): steering for steering in Steering}
    return known.get(str(stored))


@retried
def read_steering(storage: SharedStorage, study_id: int) -> Steering | None:
    """What is asked of the study's workers now; None if they are to work."""
    with storage.reading() as session:
        return steering_of(session, study_id)


@retried
def steer(storage: SharedStorage, study_id: int, steering: Steering | None) -> Steering | None:
    """Ask something of the study's workers, or with None to work on.

    Returns:
        What was asked of them before.
    """
    with storage.transaction() as session:
        before = steering_of(session, study_id)
        if steering is None:
            attribute = schema.StudyUserAttribute
            session.execute(
                sqlalchemy.delete(attribute).where(attribute.study_id == study_id, attribute.key == STEERING)
            )
        else:
            row = {"study_id": study_id, "key": STEERING, "value_json": json.dumps(steering.value)}
            upsert(session, schema.StudyUserAttribute, ("study_id", "key"), [row])
        return before


def how_to_resume(study: str) -> str:
    """The next step for those who find a study stopped."""
    return f"'gloss-tune resume --study {study}' undoes that, for workers started afterwards"
