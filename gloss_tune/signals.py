"""Signals only set a flag; the worker looks at it between two steps."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from gloss_tune.errors import ExitCode

#: Asks a worker to leave after its epoch, however long that takes; None on Windows.
LEAVE = getattr(signal, "SIGUSR1", None)
#: All that a flag listens to; a closed terminal (SIGHUP) is a request to stop like the others.
WATCHED = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
_LAST_LINE_SECONDS = 0.5


@dataclass
class StopFlag:
    """Set by signals: the first asks to stop in good order, the second at once; SIGUSR1 to leave after an epoch.

    Args:
        signum: the first signal received, None before.
        at_once: whether a second one came.
        since: when the first came, on the monotonic clock.
        since_second: when the second came.
        served: whether somebody sees to it that the process stops at once in good order; if nobody does, there is
            nothing yet to hand back, and a second signal ends the process.
        asked: whether SIGUSR1 came.
    """

    signum: int | None = None
    at_once: bool = False
    since: float = 0.0
    since_second: float = 0.0
    served: bool = True
    asked: bool = False

    @property
    def begins_nothing(self) -> bool:
        """Whether a signal of any kind came."""
        return self.signum is not None or self.asked

    @property
    def exit_code(self) -> int:
        """128 + the first signal's number, as a shell reports it: 143 for SIGTERM, 130 for SIGINT; 0 without one."""
        return ExitCode.DONE if self.signum is None else ExitCode.SIGNALLED + self.signum

    @property
    def name(self) -> str:
        """Of the first signal, for people."""
        return "no signal" if self.signum is None else signal.Signals(self.signum).name

    def set(self, signum: int, one_notice: float = 0.0) -> None:
        """What a signal does.

        Args:
            one_notice: seconds from the first signal in which another one is not a second.
        """
        if signum == LEAVE:
            self.asked = True
        elif self.signum is None:
            self.since = time.monotonic()
            self.signum = signum
        elif not self.at_once and time.monotonic() - self.since >= one_notice:
            self.since_second = time.monotonic()
            self.at_once = True
            if not self.served:
                end_process(self, "stopped at once")


@contextlib.contextmanager
def stop_on_signal(*, last: bool = False, one_notice: float = 0.1) -> Iterator[StopFlag]:
    """Set the flag on SIGTERM, SIGINT, SIGHUP and SIGUSR1. Handlers are restored at the end.

    Outside of the main thread no signal is received, and nothing sets the flag.

    A thread sets it: Python's own handlers do not run while the main thread waits inside a library, such as SQLite for
    a lock.

    Args:
        last: the process ends with this block; if a signal came, a further one must not change its exit code.
        one_notice: seconds in which the same signal again is no second one: ``timeout`` sends its own twice.
    """
    flag = StopFlag(served=False)
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {}
    reader, writer = socket.socketpair()  # unlike a pipe, it serves on Windows too
    writer.setblocking(False)

    def listen() -> None:
        while received := reader.recv(1):
            if received[0] in before:
                flag.set(received[0], one_notice if received[0] == flag.signum else 0.0)

    for signum in WATCHED:
        if signum == getattr(signal, "SIGHUP", None) and signal.getsignal(signum) == signal.SIG_IGN:
            continue  # nohup
        before[signum] = signal.signal(signum, lambda *_: None)
    others = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    listener = threading.Thread(target=listen, name="signals", daemon=True)
    listener.start()
    try:
        yield flag
    finally:
        signal.set_wakeup_fd(others)
        writer.close()
        listener.join()
        reader.close()
        for signum, handler in before.items():
            late = (
                flag.begins_nothing or signum == LEAVE
            )  # else a late notice would kill who is leaving anyway
            signal.signal(signum, signal.SIG_IGN if last and late else handler)


def end_process(stop: StopFlag, how: str) -> NoReturn:
    """Leave from whatever thread, whatever the others are doing, with the first signal's exit code.

    Args:
        how: for people.
    """

    def say() -> None:
        # not through the logger: the main thread may hold its lock, blocked on the same stderr
        with contextlib.suppress(OSError):
            os.write(2, f"{stop.name}: {how}.\n".encode())

    last_line = threading.Thread(target=say, daemon=True)
    last_line.start()
    last_line.join(_LAST_LINE_SECONDS)
    os._exit(stop.exit_code)
