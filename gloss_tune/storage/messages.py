"""Fewer messages to a Postgres server: what need not be answered at once travels with the next statement.

What opens a transaction goes with its first statement; writes that nobody asks the result of (:data:`LATER`) wait for
the next read, and the last of them take the commit along. A claim is three messages instead of nine. Several
statements in a message are the simple query protocol's, so that values are put into the text here, by the driver.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy
from sqlalchemy import event

#: Option of a statement whose result is not looked at, within a transaction.
LATER = {"gloss_tune_later": True}


@dataclass
class _Transaction:
    """What waits to be sent.

    Args:
        waiting: statements, complete with their values; the first opens the transaction unless it has begun.
        begun: whether the server knows of the transaction.
    """

    waiting: list[str] = field(default_factory=list)
    begun: bool = False

    @property
    def is_sent(self) -> bool:
        """Whether no statement waits for the commit."""
        return len(self.waiting) <= (0 if self.begun else 1)

    def take(self) -> str:
        """All that waits, as the beginning of a message."""
        taken = "".join(f"{text}; " for text in self.waiting)
        self.waiting.clear()
        self.begun = True
        return taken


# not in the connection's info, which SQLAlchemy does not give out while it makes a dialect's acquaintance
_open: WeakKeyDictionary[sqlalchemy.Connection, _Transaction] = WeakKeyDictionary()


def open_transaction(connection: sqlalchemy.Connection, opening: str) -> None:
    """Open a transaction with the next statement."""
    _open[connection] = _Transaction([opening])


def save_messages(engine: sqlalchemy.Engine) -> None:
    """From now on, have what was given to :func:`open_transaction` and statements that can wait sent with others.

    Args:
        engine: of a Postgres server, whose driver puts values into the text (:class:`psycopg.ClientCursor`).
    """

    @event.listens_for(engine, "do_execute")
    def _execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        transaction = _open.get(context.root_connection)
        if transaction is None:
            return False
        text = cursor.mogrify(statement, parameters)
        if context.execution_options.keys() & LATER.keys():
            transaction.waiting.append(text)
            return True
        cursor.execute(transaction.take() + text)
        while cursor.nextset():  # to the statement's own answer
            pass
        return True

    @event.listens_for(engine, "do_executemany")
    def _executemany(cursor: Any, _statement: str, _parameters: Any, context: Any) -> None:
        transaction = _open.get(context.root_connection)
        if transaction is not None and transaction.waiting:
            cursor.execute(transaction.take())

    @event.listens_for(engine, "commit")
    def _commit(connection: sqlalchemy.Connection) -> None:
        transaction = _open.get(connection)
        try:
            if transaction is not None and not transaction.is_sent:
                connection.exec_driver_sql("COMMIT")
        finally:
            _open.pop(connection, None)

    @event.listens_for(engine, "rollback")
    def _rollback(connection: sqlalchemy.Connection) -> None:
        _open.pop(connection, None)
