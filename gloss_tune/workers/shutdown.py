"""How a worker stops: in good order within a grace period, at once on a second signal, and in any case on time.

first signal    finish the epoch if that fits into the grace period, keep its checkpoint, requeue, leave
second signal   leave the epoch at its next step, requeue, leave
time is up      a thread requeues the trial and ends the process, whatever that is doing
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from gloss_tune.logging import logger
from gloss_tune.signals import StopFlag, end_process

_LONGEST_MARGIN = 1.0
_AT_ONCE_SECONDS = 2.0
_LAST_REQUEUE_SECONDS = 2.0
_LOOK_SECONDS = 0.1


class Shutdown:
    """Decides when a worker that was told to stop breaks off, and sees to it that it does.

    Args:
        stop: set by signals.
        grace: seconds from the first signal to the end of the process.
        requeue: gives the trial at hand back; called from another thread when the worker does not leave by itself.
    """

    def __init__(self, stop: StopFlag, grace: float, requeue: Callable[[], None]) -> None:
        self._stop = stop
        self._grace = grace
        self._requeue = requeue
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="shutdown", daemon=True)
        self._epoch_began = time.monotonic()
        self._epoch_seconds: float | None = None
        self._steps = 0
        self._said = False

    def __enter__(self) -> Shutdown:
        self._stop.served = True
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()
        self._stop.served = False

    @property
    def requested(self) -> bool:
        """Whether a signal came: begin nothing new."""
        return self._stop.signum is not None

    @property
    def must_leave(self) -> bool:
        """Whether the time for good order is over, with a margin for what leaving takes."""
        if not self.requested:
            return False
        margin = min(_LONGEST_MARGIN, 0.2 * self._grace)
        return self._stop.at_once or time.monotonic() >= self._stop.since + self._grace - margin

    def trial_begins(self) -> None:
        """A trial is about to run; how long its epochs take is not known yet."""
        self._epoch_began, self._epoch_seconds, self._steps = time.monotonic(), None, 0

    def epoch_ended(self) -> None:
        """An epoch was reported; the next one begins."""
        now = time.monotonic()
        self._epoch_seconds, self._epoch_began, self._steps = now - self._epoch_began, now, 0

    def breaks_off(self, number: int) -> bool:
        """Between two steps of trial ``number``: whether to leave its epoch here."""
        self._steps += 1
        if not self.requested:
            return False
        if self._steps == 1 or self.must_leave or not self._epoch_fits():
            return True
        if not self._said:
            self._said = True
            logger.info(
                "%s: finishing this epoch of trial %d to keep its checkpoint, for at most %.0f s; "
                "a second signal stops at once.",
                self._stop.name,
                number,
                max(1.0, self._stop.since + self._grace - time.monotonic()),
            )
        return False

    def _epoch_fits(self) -> bool:
        """Whether the epoch can end in time, by the last one's length: there is no sense in waiting in vain."""
        if self._epoch_seconds is None:
            return True
        return self._epoch_began + self._epoch_seconds <= self._stop.since + self._grace

    def _watch(self) -> None:
        while not self._left.wait(_LOOK_SECONDS):
            if self.requested and time.monotonic() >= self._end():
                self._leave_now()

    def _end(self) -> float:
        end = self._stop.since + max(self._grace, _AT_ONCE_SECONDS)
        return min(end, self._stop.since_second + _AT_ONCE_SECONDS) if self._stop.at_once else end

    def _leave_now(self) -> None:
        requeued = threading.Event()

        def requeue() -> None:
            with contextlib.suppress(Exception):
                self._requeue()
                requeued.set()

        last = threading.Thread(target=requeue, name="last-requeue", daemon=True)
        with contextlib.suppress(RuntimeError):  # no more threads may be started: leave all the same
            last.start()
            last.join(_LAST_REQUEUE_SECONDS)
        how = "is requeued as it stands" if requeued.is_set() else "is requeued when its lease ends"
        end_process(self._stop, f"time is up; the trial {how}")
