"""A user attribute of a study that is written once: whoever comes first decides for all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy

from gloss_tune.storage import schema
from gloss_tune.storage.retry import retried
from gloss_tune.storage.statements import insert_new

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gloss_tune.storage.shared_storage import SharedStorage

_attributes: Any = schema.StudyUserAttribute.__table__.c
_ATTRIBUTE = sqlalchemy.select(_attributes.value_json).where(
    _attributes.study_id == sqlalchemy.bindparam("study"), _attributes.key == sqlalchemy.bindparam("key")
)


@retried
def study_attribute(storage: SharedStorage, study_id: int, key: str) -> Any:
    """An attribute as it is stored now; None if there is none."""
    with storage.reading() as session:
        return read_attribute(session, study_id, key)


@retried
def write_once(storage: SharedStorage, study_id: int, key: str, value: Any) -> Any:
    """Write an attribute unless it is there; of processes that do this at once, one writes.

    Returns:
        What all of them read from now on.
    """
    with storage.transaction() as session:
        row = {"study_id": study_id, "key": key, "value_json": json.dumps(value)}
        insert_new(session, schema.StudyUserAttribute, ("study_id", "key"), [row])
        return read_attribute(session, study_id, key)


def read_attribute(session: Session, study_id: int, key: str) -> Any:
    """:func:`study_attribute` as part of a larger transaction."""
    stored: str | None = session.connection().execute(_ATTRIBUTE, {"study": study_id, "key": key}).scalar()
    return None if stored is None else json.loads(stored)
