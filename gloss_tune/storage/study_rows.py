"""Whole studies as rows: copied, renamed and deleted in one transaction each, however many trials they have."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial, TrialState

from gloss_tune.storage import schema

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_studies, _trials = schema.Study.__table__, schema.Trial.__table__
# A copy is nobody's work, and its attachments and notes are the original's.
_NOT_COPIED = {schema.TrialHeartbeat.__table__.name}


def copy_rows(
    session: Session,
    study_id: int,
    name: str,
    attributes: Mapping[str, Any],
    left_out: Collection[str],
) -> int:
    """Copy a study with its trials under their numbers; trials that run wait in the copy.

    Args:
        session: in a transaction.
        study_id: of the original.
        name: of the copy, not taken.
        attributes: user attributes that the copy has instead of the original's, or besides.
        left_out: beginnings of the names of attributes that are not copied.

    Returns:
        The copy's key.
    """
    copied = session.execute(
        _studies.insert().values(study_name=name).returning(_studies.c.study_id)
    ).scalar_one()
    runs = _trials.c.state == TrialState.RUNNING
    waits = sqlalchemy.literal(TrialState.WAITING, _trials.c.state.type)
    waiting = sqlalchemy.case((runs, waits), else_=_trials.c.state)
    start = sqlalchemy.case((runs, sqlalchemy.null()), else_=_trials.c.datetime_start)
    own = {"study_id": sqlalchemy.literal(copied), "state": waiting, "datetime_start": start}
    names = [column.name for column in _trials.c if not column.primary_key]
    rows = sqlalchemy.select(*(own.get(column, _trials.c[column]).label(column) for column in names))
    rows = rows.where(_trials.c.study_id == study_id).order_by(_trials.c.number)
    session.execute(_trials.insert().from_select(names, rows, include_defaults=False))
    old, new = _trials.alias(), _trials.alias()
    for table in schema.TABLES.values():
        if table in (_studies, _trials) or table.name in _NOT_COPIED:
            continue
        names = [column.name for column in table.c if not column.primary_key]
        if "trial_id" in names:
            query = (
                sqlalchemy.select(
                    *(new.c.trial_id if column == "trial_id" else table.c[column] for column in names)
                )
                .join_from(table, old, old.c.trial_id == table.c.trial_id)
                .join(new, (new.c.number == old.c.number) & (new.c.study_id == copied))
                .where(old.c.study_id == study_id)
            )
        elif "study_id" in names:
            query = sqlalchemy.select(
                *(sqlalchemy.literal(copied) if column == "study_id" else table.c[column] for column in names)
            ).where(table.c.study_id == study_id)
        else:
            continue
        for beginning in left_out if "key" in names else ():
            query = query.where(~table.c.key.startswith(beginning, autoescape=True))
        query = query.order_by(next(iter(table.primary_key)))
        session.execute(table.insert().from_select(names, query, include_defaults=False))
    set_study_attributes(session, copied, attributes)
    return int(copied)


def add_finished(session: Session, study_id: int, trials: Sequence[FrozenTrial]) -> None:
    """Write finished trials of another study as a new one's first, numbered from 0.

    Args:
        session: in a transaction.
        study_id: of a study without trials.
        trials: with parameters, distributions, values, reports, times and user attributes.
    """
    for number, trial in enumerate(trials):
        row = schema.Trial(study_id=study_id, number=number, state=trial.state)
        row.datetime_start, row.datetime_complete = trial.datetime_start, trial.datetime_complete
        session.add(row)
        session.flush()
        key = {"trial_id": row.trial_id}
        for name, value in trial.params.items():
            distribution = trial.distributions[name]
            session.add(
                schema.TrialParam(
                    **key,
                    param_name=name,
                    param_value=distribution.to_internal_repr(value),
                    distribution_json=distribution_to_json(distribution),
                )
            )
        for step, value in trial.intermediate_values.items():
            stored, kind = schema.TrialReport.intermediate_value_to_stored_repr(value)
            session.add(
                schema.TrialReport(**key, step=step, intermediate_value=stored, intermediate_value_type=kind)
            )
        if trial.value is not None:
            stored, kind = schema.TrialValue.value_to_stored_repr(trial.value)
            session.add(schema.TrialValue(**key, objective=0, value=stored, value_type=kind))
        for name, value in trial.user_attrs.items():
            session.add(schema.TrialUserAttribute(**key, key=name, value_json=json.dumps(value)))


def rename_rows(session: Session, study_id: int, name: str, attributes: Mapping[str, Any]) -> None:
    """Give a study another name, not taken, and these user attributes."""
    session.execute(_studies.update().where(_studies.c.study_id == study_id).values(study_name=name))
    set_study_attributes(session, study_id, attributes)


def delete_rows(session: Session, study_id: int) -> None:
    """Delete a study with all that belongs to it."""
    trials = sqlalchemy.select(_trials.c.trial_id).where(_trials.c.study_id == study_id)
    children = [table for table in schema.TABLES.values() if table not in (_studies, _trials)]
    for table in children:
        if "trial_id" in table.c:
            session.execute(table.delete().where(table.c.trial_id.in_(trials)))
    for table in [*(table for table in children if "study_id" in table.c), _trials, _studies]:
        session.execute(table.delete().where(table.c.study_id == study_id))


def set_study_attributes(session: Session, study_id: int, attributes: Mapping[str, Any]) -> None:
    """Write user attributes of a study, each the only one of its name."""
    table = schema.StudyUserAttribute.__table__
    session.execute(table.delete().where(table.c.study_id == study_id, table.c.key.in_(list(attributes))))
    for key, value in attributes.items():
        session.execute(table.insert().values(study_id=study_id, key=key, value_json=json.dumps(value)))


def name_is_taken(session: Session, name: str) -> bool:
    """Whether the storage holds a study of this name, whoever made it."""
    query = sqlalchemy.select(_studies.c.study_id).where(_studies.c.study_name == name)
    return session.execute(query).first() is not None


def attached_files(session: Session, study_id: int) -> set[str]:
    """Names of the files in the artifacts folder that Optuna attached to a study or to its trials."""
    of_study, of_trial = schema.StudySystemAttribute.__table__, schema.TrialSystemAttribute.__table__
    beginning = schema.ATTACHMENT
    queries = [
        sqlalchemy.select(of_study.c.key).where(of_study.c.study_id == study_id),
        sqlalchemy.select(of_trial.c.key)
        .join(_trials, _trials.c.trial_id == of_trial.c.trial_id)
        .where(_trials.c.study_id == study_id),
    ]
    return {
        key.removeprefix(beginning)
        for query in queries
        for key in session.execute(query).scalars()
        if key.startswith(beginning)
    }
