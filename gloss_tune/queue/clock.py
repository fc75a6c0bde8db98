"""What time it is for leases: workers need not agree on the time, and nobody may set it back.

A server's clock is the one that all its clients share. It is asked for UTC in words that no session setting changes;
``now()`` alone comes in whatever zone a session has.

An SQLite file has no server: each process reads the clock that it sees. But all of them are on one machine, whose
monotonic clock nobody sets. The first that asks writes down how far it is behind UTC; from then on, to the machine's
next start, the time is that much after the monotonic clock, whatever becomes of the other one.
"""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import sqlalchemy

from gloss_tune.processes import boot
from gloss_tune.storage import schema
from gloss_tune.storage.statements import insert_new

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_FORM = "%Y-%m-%dT%H:%M:%S.%f"


def _utc(moment: sqlalchemy.ColumnElement[Any]) -> sqlalchemy.ColumnElement[Any]:
    return sqlalchemy.func.timezone(sqlalchemy.literal_column("'UTC'"), moment)


def _text(moment: sqlalchemy.ColumnElement[Any]) -> sqlalchemy.ColumnElement[str]:
    form: Any = sqlalchemy.literal_column("'YYYY-MM-DD\"T\"HH24:MI:SS.US'")
    return sqlalchemy.func.to_char(moment, form)


#: A Postgres server's time within a statement: a timestamp in UTC, and the same as ISO 8601 has it.
NOW = _utc(sqlalchemy.func.now())
NOW_TEXT = _text(NOW)
_NOW = sqlalchemy.select(NOW_TEXT)
_SERVER_START = sqlalchemy.select(_text(_utc(sqlalchemy.func.pg_postmaster_start_time())))
_attributes: Any = schema.StudySystemAttribute.__table__.c
_KEY = "gloss_tune:clock:"
_EPOCH = datetime(1970, 1, 1)
# of any study: the first of them keeps it
_BEHIND = (
    sqlalchemy.select(_attributes.value_json)
    .where(_attributes.key == sqlalchemy.bindparam("key"))
    .order_by(_attributes.study_id)
    .limit(1)
)
_FIRST_STUDY = sqlalchemy.select(sqlalchemy.func.min(schema.Study.__table__.c.study_id))
_known: WeakKeyDictionary[Any, float] = WeakKeyDictionary()


def database_now(session: Session) -> datetime:
    """The storage's time, naive UTC. Read once in a transaction."""
    now: datetime | None = session.info.get("now")
    if now is None:
        sqlite = session.get_bind().dialect.name == "sqlite"
        now = session.info["now"] = _machine_now(session) if sqlite else _asked(session, _NOW)
    return now


def server_started(session: Session) -> datetime:
    """When the database server started, naive UTC; long ago for SQLite, which has none."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.min
    return _asked(session, _SERVER_START)


def _asked(session: Session, statement: sqlalchemy.Select[Any]) -> datetime:
    return datetime.strptime(session.connection().execute(statement).scalar_one(), _FORM)


def keep_clock(session: Session) -> None:
    """Write down how the time is to be told, unless somebody has; for transactions that write anyhow."""
    engine = session.get_bind()
    if engine.dialect.name != "sqlite" or engine in _known or not boot() or _behind(session) is not None:
        return
    study = session.connection().execute(_FIRST_STUDY).scalar()
    if study is None:
        return
    behind = json.dumps(time.time() - time.monotonic())
    row = {"study_id": study, "key": _KEY + boot(), "value_json": behind}
    insert_new(session, schema.StudySystemAttribute, ("study_id", "key"), [row])


def _machine_now(session: Session) -> datetime:
    behind = _behind(session)
    if behind is None:  # on a machine that cannot be told from others, or in a file that nobody has worked on
        return datetime.now(timezone.utc).replace(tzinfo=None)
    return _EPOCH + timedelta(seconds=time.monotonic() + behind)


def _behind(session: Session) -> float | None:
    """How many seconds this machine's monotonic clock is behind UTC, as it was first found; None before that."""
    engine = session.get_bind()
    if engine not in _known and boot():
        found = session.connection().execute(_BEHIND, {"key": _KEY + boot()}).scalar()
        if found is None:
            return None
        _known[engine] = float(found)
    return _known.get(engine)
