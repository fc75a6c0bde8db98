"""Waiting for a storage that is away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    ProgrammingError,
)

from gloss_tune.errors import MachineError, StorageLostError, StorageRefusedError
from gloss_tune.storage.retry import Retry, retried
from gloss_tune.storage.sqlstate import outage


def away(reason: str = "server closed the connection") -> OperationalError:
    return OperationalError("SELECT 1", {}, Exception(f"{reason}\nsecond line"))


class Flaky:
    """An operation that fails so many times and then answers."""

    def __init__(self, failures: int, error: Callable[[], Exception] = away) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error()
        return "answer"


def retry(seconds: float = 30.0, must_leave: Callable[[], bool] = lambda: False) -> Retry:
    return Retry("sqlite:///x.db", seconds, must_leave)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gloss_tune.storage.retry._FIRST_PAUSE", 0.001)
    monkeypatch.setattr("gloss_tune.storage.retry._SLICE", 0.001)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("gloss_tune"), "propagate", True)
    return caplog


def test_it_repeats_until_there_is_an_answer_and_says_so_once(said: pytest.LogCaptureFixture) -> None:
    operation, waiting = Flaky(4), retry()
    assert waiting(operation) == "answer"
    assert operation.calls == 5
    assert [record.message for record in said.records] == [
        "Storage sqlite:///x.db does not answer (server closed the connection); waiting for it.",
        "Storage sqlite:///x.db answers again, after 0 s.",
    ]


def test_without_retries_the_first_error_is_raised() -> None:
    operation = Flaky(1)
    with pytest.raises(OperationalError):
        retry(0.0)(operation)
    assert operation.calls == 1


def test_it_gives_up_after_its_time_and_then_waits_no_more() -> None:
    waiting = retry(0.05)
    with pytest.raises(
        StorageLostError, match=r"has not answered for .* s \(server closed the connection\)"
    ) as got:
        waiting(Flaky(10_000))
    assert isinstance(got.value.__cause__, OperationalError)
    last = Flaky(10_000)
    with pytest.raises(StorageLostError):
        waiting(last)
    assert last.calls == 1


def test_after_an_answer_it_is_patient_again() -> None:
    waiting = retry(0.05)
    with pytest.raises(StorageLostError):
        waiting(Flaky(10_000))
    waiting(Flaky(0))
    assert waiting(Flaky(2)) == "answer"


def test_a_worker_that_must_leave_waits_no_longer() -> None:
    leave = threading.Event()
    threading.Timer(0.1, leave.set).start()
    started = time.monotonic()
    with pytest.raises(StorageLostError):
        retry(60.0, leave.is_set)(Flaky(10**9))
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "error",
    [
        lambda: ProgrammingError("SELECT", {}, Exception("relation does not exist")),
        lambda: away("no such table: trials"),
        lambda: StorageInternalError("without a cause"),
    ],
)
@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_a_refusal_is_told_at_once(error: Callable[[], Exception], seconds: float) -> None:
    operation = Flaky(1, error)
    with pytest.raises(StorageRefusedError, match=r"refuses what is asked of it: .*Next: "):
        retry(seconds)(operation)
    assert operation.calls == 1


@pytest.mark.parametrize(
    "error",
    [
        lambda: IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed")),
        lambda: ValueError("a bug"),
    ],
)
def test_other_errors_are_raised_at_once(error: Callable[[], Exception]) -> None:
    operation = Flaky(1, error)
    with pytest.raises(type(error())):
        retry()(operation)
    assert operation.calls == 1


def test_only_the_outermost_call_repeats() -> None:
    """A transaction that is part of a larger one cannot be repeated by itself."""
    waiting, inner, outer_calls = retry(), Flaky(1), []

    def outer() -> str:
        outer_calls.append(1)
        return waiting(inner)

    assert waiting(outer) == "answer"
    assert (len(outer_calls), inner.calls) == (2, 2)


def test_threads_wait_each_for_itself() -> None:
    waiting, results = retry(), []
    threads = [threading.Thread(target=lambda: results.append(waiting(Flaky(3)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["answer"] * 8


def test_a_method_waits_as_its_storage_does() -> None:
    class Storage:
        def __init__(self) -> None:
            self.retry = retry()
            self.operation = Flaky(2)

        @retried
        def read(self, suffix: str, *, times: int) -> str:
            """Documented."""
            return self.operation() + suffix * times

    assert Storage().read("!", times=2) == "answer!!"
    assert Storage.read.__doc__ == "Documented."


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (away("database is locked"), "database is locked"),
        (away("database or disk is full"), "database or disk is full: make room on its disk"),
        (away("attempt to write a readonly database"), None),
        (away('FATAL:  password authentication failed for user "u"'), None),
        (InterfaceError("SELECT", {}, Exception("the connection is closed")), "the connection is closed"),
        (DBAPIError("SELECT", {}, Exception("terminating"), connection_invalidated=True), "terminating"),
        (DBAPIError("SELECT", {}, Exception("wrong type")), None),
        (OperationalError("SELECT", {}, Exception("")), "OperationalError"),
        (KeyError("x"), None),
        (
            PendingRollbackError("Can't reconnect until invalid transaction is rolled back."),
            "the connection broke in a transaction",
        ),
        (PendingRollbackError("This Session's transaction has been rolled back by a nested rollback."), None),
    ],
)
def test_what_counts_as_an_outage(error: Exception, reason: str | None) -> None:
    found = outage(error)
    assert found == reason or (reason == "OperationalError" and found is not None)


def test_optunas_own_error_is_judged_by_its_cause() -> None:
    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = away("connection refused")
    assert outage(error) == "connection refused"
    error.__cause__ = ValueError("no outage")
    assert outage(error) is None


UNKNOWN = "failed to resolve host 'db': [Errno -2] Name or service not known"


def test_a_host_that_was_known_is_waited_for_as_it_moves() -> None:
    """A failover may take the name away for a while; one that never was there is a wrong URL."""
    patient = retry()
    with pytest.raises(StorageRefusedError, match="unknown"):
        patient(Flaky(1, lambda: away(UNKNOWN)))
    assert patient(Flaky(0)) == "answer"
    assert patient(Flaky(3, lambda: away(UNKNOWN))) == "answer"


def test_a_name_server_that_is_away_says_nothing_of_the_host() -> None:
    assert retry()(Flaky(2, lambda: away("failed to resolve host: Temporary failure in name resolution")))


def test_files_that_are_used_up_are_not_the_storages_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gloss_tune.storage.retry.files_used_up", lambda: "Too many files are open at once")
    with pytest.raises(MachineError, match="Too many files"):
        retry()(Flaky(1))
