"""Rows that are there after the call, whether they were before or not: one statement instead of look and write."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam
from sqlalchemy.dialects import postgresql, sqlite

from gloss_tune.storage.messages import LATER

if TYPE_CHECKING:
    import sqlalchemy
    from sqlalchemy.orm import Session

Insert = postgresql.Insert | sqlite.Insert


def upsert(session: Session, model: Any, keys: tuple[str, ...], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; one whose keys are in the table already changes that row.

    Args:
        session: in a transaction; what was added to it and not flushed yet is not seen.
        model: a mapped class, whose table has a unique constraint on ``keys``.
        keys: names of columns.
        rows: a few, each with the same columns, no two with the same keys.
    """
    _write(session, model, keys, rows, change=True)


def insert_new(
    session: Session, model: Any, keys: tuple[str, ...], rows: Sequence[Mapping[str, Any]]
) -> None:
    """As :func:`upsert`, but a row whose keys are in the table already stays as it is."""
    _write(session, model, keys, rows, change=False)


def _write(
    session: Session, model: Any, keys: tuple[str, ...], rows: Sequence[Mapping[str, Any]], *, change: bool
) -> None:
    if not rows:
        return
    dialect = session.get_bind().dialect.name
    statement = _statement(dialect, model.__table__, keys, tuple(rows[0]), len(rows), change)
    known = {_numbered(name, index): value for index, row in enumerate(rows) for name, value in row.items()}
    session.connection().execute(statement, known)


def _numbered(name: str, index: int) -> str:
    return f"{name}_{index}"


@functools.cache
def _statement(
    dialect: str,
    table: sqlalchemy.Table,
    keys: tuple[str, ...],
    columns: tuple[str, ...],
    rows: int,
    change: bool,
) -> Insert:
    values = [
        {name: bindparam(_numbered(name, index), type_=table.c[name].type) for name in columns}
        for index in range(rows)
    ]
    insert = insertion(dialect, table).values(values)
    written = (
        or_update(insert, keys, columns)
        if change
        else insert.on_conflict_do_nothing(index_elements=keys).inline()
    )
    return written.execution_options(**LATER)


def insertion(dialect: str, table: sqlalchemy.Table) -> Insert:
    """An insertion in a database's own words."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def or_update(insert: Insert, keys: tuple[str, ...], columns: tuple[str, ...]) -> Insert:
    """The insertion that changes a row whose keys are in the table already."""
    changed = {name: insert.excluded[name] for name in columns if name not in keys}
    return insert.on_conflict_do_update(index_elements=keys, set_=changed).inline()
