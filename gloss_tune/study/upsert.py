"""Rows that are there after the call, whether they were before or not: one statement instead of look and write."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def upsert(session: Session, model: Any, keys: tuple[str, ...], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; one whose keys are in the table already changes that row.

    Args:
        session: in a transaction; what was added to it and not flushed yet is not seen.
        model: a mapped class, whose table has a unique constraint on ``keys``.
        keys: names of columns.
        rows: each with the same columns, no two with the same keys.
    """
    if not rows:
        return
    statement = _statement(session.get_bind().dialect.name, model.__table__, keys, tuple(rows[0]))
    session.connection().execute(statement, [dict(row) for row in rows])


@functools.cache
def _statement(
    dialect: str, table: sqlalchemy.Table, keys: tuple[str, ...], columns: tuple[str, ...]
) -> sqlalchemy.Insert:
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    new = insert(table)
    changed = {name: new.excluded[name] for name in columns if name not in keys}
    return new.on_conflict_do_update(index_elements=keys, set_=changed).inline()
