"""Signals only set a flag; the worker looks at it between two steps."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

_WATCHED = (signal.SIGTERM, signal.SIGINT)


@dataclass
class StopFlag:
    """Set by the first signal.

    Args:
        signum: the signal received, None before.
    """

    signum: int | None = None

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as a shell reports it: 143 for SIGTERM, 130 for SIGINT; 0 without a signal."""
        return 0 if self.signum is None else 128 + self.signum


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopFlag]:
    """Set the flag on the first SIGTERM or SIGINT; a second one acts as it did before. Handlers are restored."""
    flag = StopFlag()
    before = {signum: signal.getsignal(signum) for signum in _WATCHED}

    def restore() -> None:
        for signum, handler in before.items():
            signal.signal(signum, handler)

    def handle(signum: int, _frame: FrameType | None) -> None:
        flag.signum = signum
        restore()

    for signum in _WATCHED:
        signal.signal(signum, handle)
    try:
        yield flag
    finally:
        restore()
