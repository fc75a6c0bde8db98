"""The fence around a claimed trial: what is written to it is written only while the claim holds.

A claim holds while its trial runs on the claim's attempt. Both are read in one statement and under both rows' locks;
where it had to wait for one, Postgres compares once more with what was committed meanwhile (its documentation,
13.2.1, Read Committed).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy
from optuna.trial import TrialState

from gloss_tune.storage import schema
from gloss_tune.storage.statements import insertion, or_update

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_trials: Any = schema.Trial.__table__
_attributes: Any = schema.TrialUserAttribute.__table__
# Statements are put together once: that takes longer than most of them run.
_HELD = (
    sqlalchemy.select(_trials.c.trial_id)
    .join(_attributes, _attributes.c.trial_id == _trials.c.trial_id)
    .where(
        _trials.c.trial_id == sqlalchemy.bindparam("held"),
        _trials.c.state == TrialState.RUNNING,
        _attributes.c.key == "attempts",
        _attributes.c.value_json == sqlalchemy.bindparam("attempt"),
    )
    .with_for_update()  # the trial's row first, as everybody who locks both
)


def holds(session: Session, trial_id: int, attempt: int) -> bool:
    """Whether a claim holds; if so, it goes on holding to the end of the transaction."""
    found = session.connection().execute(_HELD, {"held": trial_id, "attempt": json.dumps(attempt)})
    return found.one_or_none() is not None


def upsert_held(
    session: Session, model: Any, keys: tuple[str, ...], row: Mapping[str, Any], attempt: int
) -> bool:
    """Write one row of a trial, new or not, if the claim on the trial holds: one statement.

    Args:
        session: in a transaction, which need not hold anything else.
        model: a mapped class, whose table has a unique constraint on ``keys``.
        keys: names of columns.
        row: with ``trial_id`` among its columns.
        attempt: of the claim.

    Returns:
        Whether the claim holds; if not, nothing was written.
    """
    statement = _statement(session.get_bind().dialect.name, model.__table__, keys, tuple(row))
    known = {**row, "held": row["trial_id"], "attempt": json.dumps(attempt)}
    return bool(session.connection().execute(statement, known).rowcount)


@functools.cache
def _statement(
    dialect: str, table: sqlalchemy.Table, keys: tuple[str, ...], columns: tuple[str, ...]
) -> sqlalchemy.Insert:
    held = _HELD.subquery("held")
    values = [
        held.c.trial_id if name == "trial_id" else sqlalchemy.bindparam(name, type_=table.c[name].type)
        for name in columns
    ]
    # SQLite takes ON CONFLICT after SELECT for a join's ON, unless there is a WHERE
    rows = sqlalchemy.select(*values).where(sqlalchemy.true())
    new = insertion(dialect, table).from_select(columns, rows, include_defaults=False)
    return or_update(new, keys, columns).execution_options(preserve_rowcount=True)
