"""Whole studies carried from one database into another, and compared there, before anything is committed.

Keys are the target's own; what refers to a trial refers to it by its number on the way. Optuna's dashboard keeps its
notes on trials under names that hold the trial's key, and these go along.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy
from optuna.trial import TrialState

from gloss_tune.errors import GlossTuneError
from gloss_tune.storage import schema

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

Row = dict[str, Any]

_studies, _trials = schema.Study.__table__, schema.Trial.__table__
_NOTE_ON_TRIAL = re.compile(r"dashboard:(\d+):")
_SERVER = sqlalchemy.text(
    "SELECT pg_postmaster_start_time(), current_database(), current_schema(), inet_server_port()"
)


def keep_writers_out(session: Session, study_id: int) -> str | None:
    """Nobody else writes to a study, or claims one of its trials, until this session's transaction ends.

    Returns:
        The study's name; None if there is no such study.
    """
    hold_open(session)
    name: str | None = session.execute(
        sqlalchemy.select(_studies.c.study_name).where(_studies.c.study_id == study_id).with_for_update()
    ).scalar()
    session.execute(
        sqlalchemy.select(_trials.c.trial_id).where(_trials.c.study_id == study_id).with_for_update()
    ).all()
    return name


def hold_open(session: Session) -> None:
    """Let the transaction of this session wait for another database, however long that takes."""
    if not _is_sqlite(session):
        session.execute(sqlalchemy.text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def see_one_state(session: Session) -> None:
    """Let this session, whose transaction has asked nothing yet, see the database as it is now, to its end."""
    if not _is_sqlite(session):
        session.execute(sqlalchemy.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        hold_open(session)


def is_same_place(one: Session, other: Session) -> bool:
    """Whether two sessions, of whatever names for it, are in the same place of the same Postgres server."""
    if _is_sqlite(one) or _is_sqlite(other):
        return False
    return one.execute(_SERVER).one() == other.execute(_SERVER).one()


def count_trials(session: Session, study_id: int) -> tuple[int, int]:
    """How many trials a study has, and how many of them run."""
    runs = sqlalchemy.case((_trials.c.state == TrialState.RUNNING, 1))
    counted = sqlalchemy.select(sqlalchemy.func.count(), sqlalchemy.func.count(runs))
    trials, running = session.execute(counted.where(_trials.c.study_id == study_id)).one()
    return trials, running


def study_keys(session: Session) -> dict[str, int]:
    """All studies, whoever made them: name → key."""
    rows = session.execute(sqlalchemy.select(_studies.c.study_name, _studies.c.study_id))
    return {name: study_id for name, study_id in rows}  # noqa: C416 - mypy takes no rows for pairs


def carry_study(
    source: Session, study_id: int, target: Session, left_out: Collection[str] = (), *, requeue: bool = False
) -> int:
    """Write a study with all that belongs to it into another database, and read it back.

    Args:
        source: in a transaction that sees one state of the study.
        study_id: its key there.
        target: in a transaction; nothing there has the study's name.
        left_out: beginnings of the names of attributes that stay behind.
        requeue: trials that run there wait here.

    Returns:
        How many trials it has.

    Raises:
        GlossTuneError: what arrived is not what was sent; the caller's transaction must not be committed.
    """
    name = source.execute(
        sqlalchemy.select(_studies.c.study_name).where(_studies.c.study_id == study_id)
    ).scalar_one()
    trials = _sent_trials(source, study_id, requeue)
    new_id = target.execute(
        _studies.insert().values(study_name=name).returning(_studies.c.study_id)
    ).scalar_one()
    _insert(target, _trials, [{**trial, "study_id": new_id} for trial in trials])
    _compare("trials", trials, _trials_of(target, new_id))
    theirs, ours = _numbers(source, study_id), _numbers(target, new_id)
    keys = {number: trial_id for trial_id, number in ours.items()}
    for table in _parts():
        rows = list(_rows(source, table, study_id, theirs, left_out))
        _insert(target, table, [_with_keys(row, new_id, keys) for row in rows])
        _compare(table.name, rows, list(_rows(target, table, new_id, ours, left_out)))
    return len(trials)


def is_same_study(
    one: Session, its_id: int, other: Session, other_id: int, left_out: Collection[str] = ()
) -> bool:
    """Whether a study of one database and a study of another hold the same."""
    if list(map(repr, _trials_of(one, its_id))) != list(map(repr, _trials_of(other, other_id))):
        return False
    theirs, ours = _numbers(one, its_id), _numbers(other, other_id)

    def held(session: Session, table: Any, study_id: int, numbers: Mapping[int, int]) -> list[str]:
        return sorted(map(repr, _rows(session, table, study_id, numbers, left_out)))

    return all(held(one, table, its_id, theirs) == held(other, table, other_id, ours) for table in _parts())


def _parts() -> list[Any]:
    """The tables of what belongs to studies and trials, their own two apart."""
    return [
        table
        for table in schema.TABLES.values()
        if table not in (_studies, _trials) and {"study_id", "trial_id"} & set(table.c.keys())
    ]


def _sent_trials(source: Session, study_id: int, requeue: bool) -> list[Row]:
    trials = _trials_of(source, study_id)
    for number, trial in enumerate(trials):
        if trial["number"] != number:
            raise GlossTuneError(
                f"The numbers of a study's trials run from 0 without a gap; here trial {number} is missing or there "
                "twice. Repair what is stored"
            )
        if requeue and trial["state"] is TrialState.RUNNING:
            trial["state"], trial["datetime_start"] = TrialState.WAITING, None
    return trials


def _trials_of(session: Session, study_id: int) -> list[Row]:
    columns = [column for column in _trials.c if column.name not in ("trial_id", "study_id")]
    query = sqlalchemy.select(*columns).where(_trials.c.study_id == study_id).order_by(_trials.c.number)
    return [dict(row) for row in session.execute(query).mappings()]


def _numbers(session: Session, study_id: int) -> dict[int, int]:
    """Each trial's number by its key. Keys rise with numbers, on which who claims them relies."""
    query = sqlalchemy.select(_trials.c.trial_id, _trials.c.number).where(_trials.c.study_id == study_id)
    rows = session.execute(query.order_by(_trials.c.trial_id))
    return {key: number for key, number in rows}  # noqa: C416


def _rows(
    session: Session, table: Any, study_id: int, numbers: Mapping[int, int], left_out: Collection[str]
) -> Iterator[Row]:
    """A table's rows of one study, with numbers instead of keys."""
    [key] = table.primary_key
    columns = [column for column in table.c if column.name not in (key.name, "study_id")]
    query = sqlalchemy.select(*columns).order_by(key)
    if "study_id" in table.c:
        query = query.where(table.c.study_id == study_id)
    else:
        query = query.join(_trials, _trials.c.trial_id == table.c.trial_id).where(
            _trials.c.study_id == study_id
        )
    for found in session.execute(query).mappings():
        row = dict(found)
        name = row.get("key")
        if name is not None and name.startswith(tuple(left_out)):
            continue
        if "trial_id" in row:
            row["trial_id"] = numbers[row["trial_id"]]
        elif name is not None and (match := _NOTE_ON_TRIAL.match(name)):
            number = numbers.get(int(match[1]))
            row["key"] = name if number is None else f"dashboard:#{number}:{name[match.end() :]}"
        yield row


def _with_keys(row: Row, study_id: int, keys: Mapping[int, int]) -> Row:
    if "trial_id" in row:
        return {**row, "trial_id": keys[row["trial_id"]]}
    name = row.get("key", "")
    if match := re.match(r"dashboard:#(\d+):", name):
        name = f"dashboard:{keys[int(match[1])]}:{name[match.end() :]}"
        return {**row, "key": name, "study_id": study_id}
    return {**row, "study_id": study_id}


def _insert(session: Session, table: Any, rows: list[Row]) -> None:
    if not rows:
        return
    if _is_sqlite(session):
        session.connection().execute(table.insert(), rows)
        return
    # what gives back keys goes a thousand rows in a statement, what does not, one by one
    [key] = table.primary_key
    session.connection().execute(table.insert().returning(key, sort_by_parameter_order=True), rows).all()


def _compare(what: str, sent: list[Row], arrived: list[Row]) -> None:
    if list(map(repr, sent)) != list(map(repr, arrived)):  # NaN is equal to NaN here
        raise GlossTuneError(
            f"What arrived is not what was sent: {len(sent)} rows of {what}, and {len(arrived)} not all the same. "
            "Nothing was written; the other database changes what it is given"
        )


def _is_sqlite(session: Session) -> bool:
    return bool(session.get_bind().dialect.name == "sqlite")
