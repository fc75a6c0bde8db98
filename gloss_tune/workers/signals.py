"""Signals only set a flag; the worker looks at it between two steps."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

# a closed terminal (SIGHUP) is a request to stop like the others; there is none on Windows
_WATCHED = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))


@dataclass
class StopFlag:
    """Set by signals: the first asks to stop in good order, the second at once.

    Args:
        signum: the first signal received, None before.
        at_once: whether a second one came.
        since: when the first came, on the monotonic clock.
        since_second: when the second came.
    """

    signum: int | None = None
    at_once: bool = False
    since: float = 0.0
    since_second: float = 0.0

    @property
    def exit_code(self) -> int:
        """128 + the first signal's number, as a shell reports it: 143 for SIGTERM, 130 for SIGINT; 0 without one."""
        return 0 if self.signum is None else 128 + self.signum

    @property
    def name(self) -> str:
        """Of the first signal, for people."""
        return "no signal" if self.signum is None else signal.Signals(self.signum).name

    def set(self, signum: int) -> None:
        """What a signal does."""
        if self.signum is None:
            self.since = time.monotonic()
            self.signum = signum
        elif not self.at_once:
            self.since_second = time.monotonic()
            self.at_once = True


@contextlib.contextmanager
def stop_on_signal(*, last: bool = False) -> Iterator[StopFlag]:
    """Set the flag on SIGTERM, SIGINT and SIGHUP. Handlers are restored at the end.

    Args:
        last: the process ends with this block; if a signal came, a further one must not change its exit code.
    """
    flag = StopFlag()
    before = {}

    def handle(signum: int, _frame: FrameType | None) -> None:
        flag.set(signum)

    for signum in _WATCHED:
        if signum == getattr(signal, "SIGHUP", None) and signal.getsignal(signum) == signal.SIG_IGN:
            continue  # nohup
        before[signum] = signal.signal(signum, handle)
    try:
        yield flag
    finally:
        for signum, handler in before.items():
            signal.signal(signum, signal.SIG_IGN if last and flag.signum is not None else handler)
