"""When a worker that died is started again, and when no more: rules only, no processes."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable

_FIRST_PAUSE = 1.0
_JITTER = 0.1
MOST_DEATHS = 5
_LONG_LIFE_SECONDS = 600.0


class RestartPolicy:
    """Pauses of 1, 2, 4 … seconds for each worker, until it has died five times without getting anywhere.

    A worker gets somewhere when it finishes a trial or lives for ten minutes: one that is killed now and then during
    long trials goes on. A worker on a broken device is left out in the end, and costs the others nothing.

    Args:
        clock: the time in seconds, which only rises.
        jitter: a random number between 0 and 1, so that workers that died together do not start together.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._deaths: Counter[int] = Counter()
        self._due: dict[int, float] = {}
        self._started: dict[int, float] = {}

    @property
    def waiting(self) -> bool:
        """Whether a worker is still to be started again."""
        return bool(self._due)

    def started(self, worker: int) -> None:
        """A worker's process was started."""
        self._started[worker] = self._clock()

    def died(self, worker: int) -> float | None:
        """A worker died; it is due again after a pause.

        Returns:
            The pause in seconds; None if it is not to be started again.
        """
        if self._clock() - self._started.get(worker, self._clock()) >= _LONG_LIFE_SECONDS:
            self.progressed(worker)
        pause = _FIRST_PAUSE * 2.0 ** self._deaths[worker] * (1 + _JITTER * self._jitter())
        self._deaths[worker] += 1
        if self._deaths[worker] >= MOST_DEATHS:
            return None
        self._due[worker] = self._clock() + pause
        return pause

    def progressed(self, worker: int) -> None:
        """A worker got somewhere: its earlier deaths count no more."""
        del self._deaths[worker]

    def start_due(self) -> list[int]:
        """The workers whose pause is over, each told once."""
        now = self._clock()
        over = sorted(worker for worker, moment in self._due.items() if moment <= now)
        for worker in over:
            del self._due[worker]
        return over

    def stop(self) -> None:
        """Start nobody again."""
        self._due.clear()


def why_ended(exit_code: int) -> str:
    """The end of a process that could not say why itself, in plain words.

    Args:
        exit_code: negative for the signal that killed it.
    """
    if exit_code == 255:  # multiprocessing's word for it; no worker ends so
        return "lost, since the process that started it was killed"
    if exit_code >= 0:
        return f"ended with exit code {exit_code} without a reason"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    if name == "SIGKILL":
        return "killed (SIGKILL), perhaps by the system for want of memory"
    return f"killed ({name})"
