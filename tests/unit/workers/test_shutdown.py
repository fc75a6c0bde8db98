"""When a worker that was told to stop breaks off."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from gloss_tune import signals
from gloss_tune.logging import logger
from gloss_tune.signals import StopFlag, stop_on_signal
from gloss_tune.workers import shutdown as module
from gloss_tune.workers.shutdown import Shutdown


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr("gloss_tune.workers.shutdown.time", moved)
    monkeypatch.setattr("gloss_tune.signals.time", moved)
    return moved


def begun(stop: StopFlag, grace: float = 5.0) -> Shutdown:
    shutdown = Shutdown(stop, grace, lambda: None)
    shutdown.trial_begins()
    return shutdown


def test_without_a_signal_nothing_breaks_off(clock: Clock) -> None:
    shutdown = begun(StopFlag())
    for _ in range(10):
        clock.now += 100
        assert not shutdown.breaks_off(0)
    assert not shutdown.requested
    assert not shutdown.must_leave


def test_a_first_signal_lets_the_epoch_finish_and_the_next_one_not_begin(clock: Clock) -> None:
    stop = StopFlag()
    shutdown = begun(stop)
    assert not shutdown.breaks_off(0)
    stop.set(signal.SIGTERM)
    clock.now += 1
    assert shutdown.requested
    assert not shutdown.breaks_off(0)
    shutdown.epoch_ended()
    assert shutdown.breaks_off(0)


def test_a_trial_that_had_not_begun_does_not_begin(clock: Clock) -> None:
    stop = StopFlag()
    shutdown = begun(stop)
    stop.set(signal.SIGTERM)
    assert shutdown.breaks_off(0)


def test_the_grace_period_ends_a_long_epoch_with_time_left_to_leave(clock: Clock) -> None:
    stop = StopFlag()
    shutdown = begun(stop, grace=10.0)
    shutdown.breaks_off(0)
    stop.set(signal.SIGTERM)
    clock.now += 8.5
    assert not shutdown.breaks_off(0)
    clock.now += 1
    assert shutdown.breaks_off(0)
    assert shutdown.must_leave


def test_there_is_no_waiting_for_an_epoch_that_cannot_end_in_time(clock: Clock) -> None:
    """The last epoch took 60 s, this one is 10 s old, and 5 s are left."""
    stop = StopFlag()
    shutdown = begun(stop)
    shutdown.breaks_off(0)
    clock.now += 60
    shutdown.epoch_ended()
    shutdown.breaks_off(0)
    clock.now += 10
    stop.set(signal.SIGTERM)
    assert shutdown.breaks_off(0)


def test_an_epoch_that_is_nearly_done_is_waited_for(clock: Clock) -> None:
    stop = StopFlag()
    shutdown = begun(stop)
    shutdown.breaks_off(0)
    clock.now += 60
    shutdown.epoch_ended()
    shutdown.breaks_off(0)
    clock.now += 57
    stop.set(signal.SIGTERM)
    assert not shutdown.breaks_off(0)


def test_a_second_signal_breaks_off_at_once(clock: Clock) -> None:
    stop = StopFlag()
    shutdown = begun(stop, grace=1000.0)
    shutdown.breaks_off(0)
    stop.set(signal.SIGINT)
    assert not shutdown.breaks_off(0)
    stop.set(signal.SIGTERM)
    assert shutdown.breaks_off(0)
    assert shutdown.must_leave
    assert stop.exit_code == 130, "the first signal names the exit code"


def test_a_grace_of_zero_breaks_off_at_once(clock: Clock) -> None:
    stop = StopFlag()
    shutdown = begun(stop, grace=0.0)
    shutdown.breaks_off(0)
    stop.set(signal.SIGTERM)
    assert shutdown.breaks_off(0)


class Left(Exception):
    """Instead of the end of the process."""


def ends(monkeypatch: pytest.MonkeyPatch, stop: StopFlag, grace: float, **options: Any) -> list[Any]:
    """What a worker that never looks at its signals goes through."""
    events: list[Any] = []
    done = threading.Event()

    def leave(code: int) -> None:
        events.append(code)
        done.set()
        raise Left  # ends the watching thread as os._exit ends the process

    monkeypatch.setattr(signals.os, "_exit", leave)
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    shutdown = Shutdown(stop, grace, options.get("requeue", lambda: events.append("requeued")))
    shutdown._thread.start()
    stop.set(signal.SIGTERM)
    if options.get("twice"):
        stop.set(signal.SIGTERM)
    assert done.wait(20)
    return events


def test_a_worker_that_hangs_is_requeued_and_ended_when_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE_SECONDS", 0.1)
    started = time.monotonic()
    assert ends(monkeypatch, StopFlag(), grace=0.3) == ["requeued", 143]
    assert time.monotonic() - started >= 0.3


def test_a_second_signal_shortens_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE_SECONDS", 0.2)
    assert ends(monkeypatch, StopFlag(), grace=10_000.0, twice=True) == ["requeued", 143]


def test_a_storage_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE_SECONDS", 0.1)
    monkeypatch.setattr(module, "_LAST_REQUEUE_SECONDS", 0.1)
    hanging = threading.Event()
    assert ends(monkeypatch, StopFlag(), grace=0.1, requeue=hanging.wait) == [143]
    hanging.set()


def test_a_requeue_that_fails_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE_SECONDS", 0.1)

    def fail() -> None:
        raise OSError("no storage")

    assert ends(monkeypatch, StopFlag(), grace=0.1, requeue=fail) == [143]
    assert capfd.readouterr().err == "SIGTERM: time is up; the trial is requeued when its lease ends.\n"


def test_it_is_requeued_and_ended_though_nobody_reads_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The main thread may hang in a write to stderr, with the log's lock: the end needs neither."""
    monkeypatch.setattr(module, "_AT_ONCE_SECONDS", 0.1)
    monkeypatch.setattr(signals.os, "write", lambda *_: threading.Event().wait(60))
    handler = logging.StreamHandler()
    logger.addHandler(handler)
    handler.acquire()
    try:
        assert ends(monkeypatch, StopFlag(), grace=0.1) == ["requeued", 143]
    finally:
        handler.release()
        logger.removeHandler(handler)


def test_one_that_leaves_in_time_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals.os, "_exit", lambda code: pytest.fail("ended by force"))
    stop = StopFlag()
    with Shutdown(stop, 0.2, lambda: pytest.fail("requeued by force")):
        stop.set(signal.SIGTERM)
    time.sleep(0.4)


# ── the flag ──


@pytest.mark.parametrize(("signum", "code"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129)])
def test_signals_set_the_flag_and_handlers_are_restored(signum: str, code: int) -> None:
    number = getattr(signal, signum)
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip(f"{signum} is ignored here, as under nohup, and then stays so")
    before = signal.getsignal(number)
    with stop_on_signal(one_notice=0) as stop:
        stop.served = True
        assert (stop.signum, stop.exit_code) == (None, 0)
        signal.raise_signal(number)
        until(lambda: stop.signum)
        assert (stop.signum, stop.exit_code, stop.at_once, stop.name) == (number, code, False, signum)
        signal.raise_signal(signal.SIGTERM)
        until(lambda: stop.at_once)
        signal.raise_signal(signal.SIGINT)
    assert (stop.signum, stop.at_once) == (number, True)
    assert signal.getsignal(number) == before


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("second", "at_once"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_the_same_signal_twice_at_a_time_is_one_notice(second: int, at_once: bool) -> None:
    with stop_on_signal() as stop:
        stop.served = True
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(second)
    assert (stop.signum, stop.at_once) == (signal.SIGTERM, at_once)


def test_a_second_signal_ends_a_process_that_nobody_stops_in_good_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(signals.os, "_exit", codes.append)
    stop = StopFlag(served=False)
    stop.set(signal.SIGINT)
    with Shutdown(stop, 1000.0, lambda: None):
        stop.set(signal.SIGTERM, one_notice=10.0)
    assert codes == []
    stop.set(signal.SIGTERM)
    assert codes == [130]


@pytest.mark.parametrize(("came", "after"), [(False, signal.default_int_handler), (True, signal.SIG_IGN)])
def test_after_the_last_block_a_signal_changes_nothing_more(came: bool, after: object) -> None:
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stop_on_signal(last=True):
            if came:
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGINT) == after
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signal() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.signum is None
    finally:
        signal.signal(signal.SIGHUP, before)
