"""Postgres sessions that are not ours alone: nothing is asked of them that the statement does not say itself.

A session's settings come from the user's environment (``PGTZ``, ``PGOPTIONS``), from the role and the database, or,
behind a pooler in transaction mode, from whoever had the connection before. So nothing is set for a session, no
statement is prepared on the server, and no lock outlives its transaction: each transaction opens with its own
settings, in one message with its first statement. What reads or writes in a single statement goes without a
transaction where the session is surely ours alone and has no odd settings.
"""

from __future__ import annotations

import math
import time
from typing import Any

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.exc import InvalidatePoolError

from gloss_tune.storage.messages import open_transaction, save_messages
from gloss_tune.storage.sqlstate import sqlstate

#: Option of a connection whose next transaction is a single statement.
SINGLE = {"gloss_tune_single_statement": True}
#: For the driver. ``options`` is not among them: poolers refuse it.
CONNECT: dict[str, Any] = {
    "application_name": "gloss-tune",
    "client_encoding": "utf8",
    "connect_timeout": 15,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# a worker that is suspended inside a transaction must not hold up the others
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '30s'"
_GUARD = (
    "; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL extra_float_digits = 1"
    "; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'"
)
_SETTINGS = (
    "SELECT pg_backend_pid(), current_setting('statement_timeout') = '0'"
    " AND current_setting('lock_timeout') = '0' AND current_setting('extra_float_digits')::int >= 1"
    " AND current_setting('default_transaction_isolation') = 'read committed'"
)
_CUT_SHORT = {"57014", "55P03"}
_IDLE_SECONDS = 2.0
# any constant will do: it names our one advisory lock in a server
_ADVISORY_LOCK = 0x676C6F7373


def driver_options() -> dict[str, Any]:
    """Not settings of the URL: no transaction but those that we open, and no prepared statements."""
    import psycopg

    return {"autocommit": True, "prepare_threshold": None, "cursor_factory": psycopg.ClientCursor}


def is_pooled(connection: sqlalchemy.Connection) -> bool:
    """Whether a pooler is between this process and the server: it makes up the process id that it tells a client."""
    told: Any = connection.connection.dbapi_connection
    return bool(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar() != told.info.backend_pid)


def keep_others_out(connection: sqlalchemy.Connection) -> None:
    """Keep every other process that asks for the same out until the transaction ends; SQLite's own does that.

    The lock is the transaction's, and taken in the one that does the work: a session's lock would stay behind with a
    pooler, and a second connection that waits for it may be the one that the first needs.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))


class Sessions:
    """Looks after an engine's connections.

    Args:
        engine: made with :func:`driver_options`; connections that it has already are looked after, too.
    """

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self.guarded = False
        self._engine = engine
        save_messages(engine)
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "checkin", self._left)
        event.listen(engine, "checkout", self._taken)
        event.listen(engine, "handle_error", self._failed)

    def _begin(self, connection: sqlalchemy.Connection) -> None:
        if self.guarded:
            open_transaction(connection, _BEGIN + _GUARD)
        elif not connection.get_execution_options().keys() & SINGLE.keys():
            open_transaction(connection, _BEGIN)

    def _left(self, _connection: Any, record: Any) -> None:
        record.info["left"] = time.monotonic()

    def _taken(self, connection: Any, record: Any, _proxy: Any) -> None:
        """Look at a new connection's settings; test one that was left alone, as a server may have been restarted.

        SQLAlchemy's ``pool_pre_ping`` tests before every use, which took a third of the time of all statements.
        """
        if time.monotonic() - record.info.get("left", -math.inf) < _IDLE_SECONDS and "seen" in record.info:
            return
        try:
            if "seen" in record.info:
                self._engine.dialect.do_ping(connection)
            else:
                pid, usual = connection.execute(_SETTINGS).fetchone()
                # behind a pooler, the next statement may run in a session of quite other settings
                self.guarded = self.guarded or not usual or pid != connection.info.backend_pid
                record.info["seen"] = True
        except self._engine.dialect.loaded_dbapi.Error as error:
            if sqlstate(error) in _CUT_SHORT:  # even that took too long: the settings are known now
                self.guarded = record.info["seen"] = True
                return
            raise InvalidatePoolError from error  # which has SQLAlchemy connect anew

    def _failed(self, context: sqlalchemy.ExceptionContext) -> None:
        """Whoever may have set a session's limits since: they are not ours."""
        if sqlstate(context.original_exception) in _CUT_SHORT:
            self.guarded = True
