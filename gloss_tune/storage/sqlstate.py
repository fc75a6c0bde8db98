"""What a database's error means: an outage, which is waited for, or a refusal, which waiting does not fix.

Servers tell by SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html), SQLite by its result code
(https://sqlite.org/rescode.html). Exception classes do not tell: both databases have one for a server that is away
and for a wrong password. Words are the last resort, where a connection failed before there was a code.
"""

from __future__ import annotations

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InvalidatePoolError,
    InvalidRequestError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

#: Codes, and classes of codes (their first two characters), that pass by themselves. A code goes before its class.
WAITS = {
    "08": "the connection broke",
    "25006": "it is read-only now, as in a failover",
    "25P03": "a transaction was idle for too long",
    "25P04": "a transaction took too long",
    "40": "it rolled back, to be repeated",
    "53": "it lacks a resource",
    "55006": "an object is in use",
    "55P03": "a lock was not to be had in time",
    "57014": "a statement was cancelled or took too long",
    "57P": "it was shut down, or is starting",
    "58": "its machine has an error",
}
#: Codes and classes that somebody must fix, and how.
REFUSALS = {
    "0A": "use a release of the server that knows what was asked",
    "22": "repair what is stored, or use the release of gloss-tune that wrote it",
    "23": "take away the constraint or trigger that somebody has added to the study's tables",
    "26": "the connection comes through a pooler that mixes sessions up; connect to the server itself",
    "28": "give a user and password that the server accepts",
    "3D000": "name a database that exists",
    "3F000": "create the schema that the user's search_path names, or set search_path",
    "40002": "repair what is stored",
    "42501": "grant the user all rights on the study's tables",
    "42P01": "restore the tables, or name the storage that has them",
    "42703": "the tables are of another Optuna; run 'optuna storage upgrade --storage URL'",
    "57P04": "the database was dropped; restore it",
}
_FIX = "fix that, and repeat"

_SQLITE_WAITS = {
    5: "SQLITE_BUSY",
    6: "SQLITE_LOCKED",
    7: "SQLITE_NOMEM",
    9: "SQLITE_INTERRUPT",
    10: "SQLITE_IOERR",
    13: "SQLITE_FULL",
    14: "SQLITE_CANTOPEN",
    15: "SQLITE_PROTOCOL",
}
_SQLITE_REFUSALS = {
    1: "restore the tables, or name the storage that has them",
    3: "give this user the rights to read and write the file",
    8: "give this user the rights to write the file and its folder",
    11: "the file is damaged; restore it from a copy",
    17: "the tables have changed; start again",
    19: REFUSALS["23"],
    23: "give this user the rights to read and write the file",
    26: "name another file",
}
# a connection that failed has no code; nor has SQLite's error before Python 3.11
_REFUSING_WORDS = {
    "password authentication failed": "28",
    "authentication failed": "28",
    "no password supplied": "28",
    "no pg_hba.conf entry": "28",
    "is not permitted to log in": "28",
    "no such user": "28",
    "permission denied for database": "42501",
    "could not translate host name": "the host's name is unknown; check the URL",
    "Name or service not known": "the host's name is unknown; check the URL",
    "nodename nor servname provided": "the host's name is unknown; check the URL",
    "no such database": "3D000",
    "does not exist": "3D000",
    "unsupported startup parameter": "the pooler refuses an option of the URL or of PGOPTIONS; leave it out",
    "invalid connection option": "leave the option out of the URL",
    "certificate verify failed": "check the certificates that the URL names",
    "does not support SSL": "use another sslmode, or the server's port that has TLS",
    "no such table": "42P01",
    "no such column": "42703",
    "has no column named": "42703",
    "syntax error": _FIX,
    "readonly database": "give this user the rights to write the file and its folder",
    "not a database": "name another file",
    "malformed": "the file is damaged; restore it from a copy",
}
# a name server that is away tells nothing of the host
_PASSING_WORDS = ("Temporary failure in name resolution",)
_UNKNOWN_HOST = (
    "could not translate host name",
    "Name or service not known",
    "nodename nor servname provided",
)
_FULL = ("disk is full", "No space left")
# two wrote the same at once, or the study was deleted meanwhile: whoever asked knows what that means
_EXPECTED = {"23503", "23505"}
_EXPECTED_WORDS = ("UNIQUE constraint failed", "FOREIGN KEY constraint failed")


def outage(error: BaseException) -> str | None:
    """Why a storage does not answer, in one line; None if the error means something else."""
    error = _cause(error)
    if isinstance(error, PendingRollbackError):
        # Optuna asks once more on a broken connection
        return "the connection broke in a transaction" if "reconnect" in str(error) else None
    if isinstance(error, NoConnectionLeft | InvalidatePoolError) or _is_closed(error):
        return reason_of(error)
    if not isinstance(error, DBAPIError) or _advice(error) is not None:
        return None
    reason = reason_of(error)
    return f"{reason}: make room on its disk" if any(words in reason for words in _FULL) else reason


def is_unknown_host(error: BaseException) -> bool:
    """Whether the server's name means nothing to the name servers: wrong, or, if it was right before, about to move."""
    return isinstance(error, OperationalError) and any(words in str(error.orig) for words in _UNKNOWN_HOST)


def refusal(error: BaseException) -> tuple[str, str] | None:
    """What a storage refuses and how to fix that; None for outages and for errors that are no database's."""
    error = _cause(error)
    if not is_storage_error(error) or _is_expected(error):
        return None
    if outage(error) is not None:
        return None
    advice = _advice(error) if isinstance(error, DBAPIError) else None
    return reason_of(error), advice or _FIX


def is_storage_error(error: BaseException) -> bool:
    """Whether an error is a storage's own, whatever it means; what is computed has none of these."""
    return isinstance(error, SQLAlchemyError | StorageInternalError)


def sqlstate(error: BaseException) -> str | None:
    """The five characters by which Postgres tells its errors apart; None where there are none."""
    found = getattr(getattr(error, "orig", error), "sqlstate", None)
    return found if isinstance(found, str) else None


def reason_of(error: BaseException) -> str:
    """What the database said, in one line."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines and lines[0] else type(error).__name__


def _cause(error: BaseException) -> BaseException:
    """Optuna wraps what SQLAlchemy raises."""
    return error.__cause__ or error if isinstance(error, StorageInternalError) else error


def _is_closed(error: BaseException) -> bool:
    """Whether the connection broke between two statements, so that SQLAlchemy has closed it."""
    return isinstance(error, InvalidRequestError) and "connection is closed" in str(error).lower()


def _is_expected(error: BaseException) -> bool:
    """Whether a row could not be written for a reason that is in the order of things."""
    if not isinstance(error, IntegrityError):
        return False
    return sqlstate(error) in _EXPECTED or any(words in str(error.orig) for words in _EXPECTED_WORDS)


def _advice(error: DBAPIError) -> str | None:
    """How to fix a refusal; None if the error is one to wait for."""
    code = sqlstate(error)
    if code is not None and not code.startswith("08"):
        for known in (code, code[:3], code[:2]):
            if known in REFUSALS:
                return REFUSALS[known]
            if known in WAITS:
                return None
        return _FIX
    result = getattr(error.orig, "sqlite_errorcode", None)
    if isinstance(result, int):
        plain = result & 0xFF  # the rest tells more than is needed
        return None if plain in _SQLITE_WAITS else _SQLITE_REFUSALS.get(plain, _FIX)
    said = str(error.orig)
    if any(words in said for words in _PASSING_WORDS):
        return None
    for words, advice in _REFUSING_WORDS.items():
        if words in said:
            return REFUSALS.get(advice, advice)
    away = isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
    return None if away or code is not None else _FIX
