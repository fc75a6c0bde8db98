"""What an error of a database means, row by row."""

from __future__ import annotations

import sqlite3
import sys

import psycopg
import pytest
from optuna.exceptions import StorageInternalError
from psycopg.errors import lookup
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    InterfaceError,
    InvalidatePoolError,
    InvalidRequestError,
    OperationalError,
    ProgrammingError,
    ResourceClosedError,
)
from sqlalchemy.exc import NotSupportedError as NotSupported
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from gloss_tune.storage.sqlstate import outage, refusal, sqlstate

WAITS = {
    "08000": "connection_exception",
    "08003": "connection_does_not_exist",
    "08006": "connection_failure",
    "08P01": "protocol_violation, which poolers say of a server that went away",
    "25006": "read_only_sql_transaction",
    "25P03": "idle_in_transaction_session_timeout",
    "40001": "serialization_failure",
    "40003": "statement_completion_unknown",
    "40P01": "deadlock_detected",
    "53000": "insufficient_resources",
    "53100": "disk_full",
    "53200": "out_of_memory",
    "53300": "too_many_connections",
    "55006": "object_in_use",
    "55P03": "lock_not_available",
    "57014": "query_canceled",
    "57P01": "admin_shutdown",
    "57P02": "crash_shutdown",
    "57P03": "cannot_connect_now",
    "57P05": "idle_session_timeout",
    "58000": "system_error",
    "58030": "io_error",
}
REFUSALS = {
    "0A000": "feature_not_supported",
    "22007": "invalid_datetime_format",
    "22P02": "invalid_text_representation",
    "23502": "not_null_violation",
    "23514": "check_violation, of a constraint that somebody added",
    "26000": "invalid_sql_statement_name",
    "28000": "invalid_authorization_specification",
    "28P01": "invalid_password",
    "3D000": "invalid_catalog_name",
    "3F000": "invalid_schema_name",
    "40002": "transaction_integrity_constraint_violation",
    "42501": "insufficient_privilege",
    "42601": "syntax_error",
    "42703": "undefined_column",
    "42P01": "undefined_table",
    "42P05": "duplicate_prepared_statement",
    "57P04": "database_dropped",
    "XX000": "internal_error",
    "XX001": "data_corrupted",
    "99999": "a code that nobody knows",
}
CLASSES = [OperationalError, ProgrammingError, InterfaceError, DBAPIError]


def error(code: str, kind: type[DBAPIError] = OperationalError) -> DBAPIError:
    """As SQLAlchemy raises it; the class tells nothing."""
    try:
        cause: psycopg.Error = lookup(code)("something")
    except KeyError:
        cause = psycopg.DatabaseError("something")
        cause.sqlstate = code  # type: ignore[misc]
    return kind("SELECT 1", {}, cause)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("code", WAITS)
def test_a_code_that_is_waited_for(code: str, kind: type[DBAPIError]) -> None:
    assert sqlstate(error(code, kind)) == code
    assert outage(error(code, kind)) == "something"
    assert refusal(error(code, kind)) is None


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("code", REFUSALS)
def test_a_code_that_is_refused(code: str, kind: type[DBAPIError]) -> None:
    assert outage(error(code, kind)) is None
    refused = refusal(error(code, kind))
    assert refused is not None
    assert refused[0] == "something"
    assert refused[1]


@pytest.mark.parametrize("code", ["57P04", "28P01"])
def test_a_refusal_that_also_broke_the_connection_is_one(code: str) -> None:
    broken = error(code)
    broken.connection_invalidated = True
    assert outage(broken) is None


SQLITE = {
    5: True,  # BUSY
    6: True,  # LOCKED
    261: True,  # BUSY_RECOVERY
    10: True,  # IOERR
    13: True,  # FULL
    14: True,  # CANTOPEN
    1: False,  # ERROR, such as a missing table
    3: False,  # PERM
    8: False,  # READONLY
    1032: False,  # READONLY_DBMOVED
    11: False,  # CORRUPT
    26: False,  # NOTADB
}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="SQLite's codes came with Python 3.11")
@pytest.mark.parametrize(("code", "waits"), SQLITE.items())
def test_sqlites_codes_whatever_the_words(code: int, waits: bool) -> None:
    cause = sqlite3.OperationalError("in any language")
    cause.sqlite_errorcode = code
    found = OperationalError("SELECT 1", {}, cause)
    assert (outage(found) is not None, refusal(found) is None) == (waits, waits)


@pytest.mark.parametrize(
    ("words", "waits"),
    [
        ("database is locked", True),
        ("unable to open database file", True),
        ("no such table: trials", False),
        ("attempt to write a readonly database", False),
        ("file is not a database", False),
        ("connection refused", True),
        ("server closed the connection unexpectedly", True),
        ("FATAL:  the database system is starting up", True),
        ("FATAL:  sorry, too many clients already", True),
        ("Temporary failure in name resolution", True),
        ('FATAL:  password authentication failed for user "u"', False),
        ("FATAL:  server login failed: FATAL password authentication failed", False),
        ('FATAL:  database "x" does not exist', False),
        ('FATAL:  role "x" does not exist', False),
        ('FATAL:  no pg_hba.conf entry for host "1.2.3.4"', False),
        ("FATAL:  unsupported startup parameter: options", False),
        ("Name or service not known", False),
        ("[Errno -3] Temporary failure in name resolution", True),
    ],
)
def test_where_there_is_no_code_words_must_do(words: str, waits: bool) -> None:
    found = OperationalError("(connect)", {}, Exception(words))
    assert (outage(found) is not None, refusal(found) is None) == (waits, waits)


def test_a_drivers_own_refusal_is_one() -> None:
    """As psycopg's, which reads no time with a zone under another DateStyle than ISO."""
    assert outage(NotSupported("SELECT now()", {}, psycopg.NotSupportedError("can't parse"))) is None
    assert refusal(DataError("SELECT", {}, psycopg.DataError("can't parse"))) is not None


def test_a_pool_that_is_used_up_is_waited_for() -> None:
    assert outage(NoConnectionLeft("QueuePool limit")) is not None
    assert outage(InvalidatePoolError("broken")) is not None
    for closed in (
        ResourceClosedError("This Connection is closed"),
        InvalidRequestError("This connection is closed"),
    ):
        assert outage(closed) is not None
        assert refusal(closed) is None
    assert outage(InvalidRequestError("Table 'x' is already defined")) is None


def test_optunas_wrapping_hides_nothing() -> None:
    wrapped = StorageInternalError("An exception is raised during the commit.")
    wrapped.__cause__ = error("42501")
    assert outage(wrapped) is None
    assert refusal(wrapped) == refusal(error("42501"))
    wrapped.__cause__ = error("57P01")
    assert outage(wrapped) == "something"


@pytest.mark.parametrize("other", [KeyError("x"), ValueError("x"), OSError(28, "No space left")])
def test_what_is_no_databases_error_is_neither(other: Exception) -> None:
    assert outage(other) is None
    assert refusal(other) is None
