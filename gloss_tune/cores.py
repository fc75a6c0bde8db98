"""A worker's share of its machine's cores: how many threads torch computes with."""

from __future__ import annotations

import time
from collections.abc import Collection

from gloss_tune.cgroups import quota_cores
from gloss_tune.idle import IdleCores
from gloss_tune.logging import logger
from gloss_tune.wording import count

# between two steps: often enough to follow the others, too rarely to cost anything
_LOOK_EVERY = 2.0


class CoreShare:
    """Sets torch's threads to a fair share of the idle cores, and again as workers and other processes come and go.

    A torch thread that waits for a core stops all the others at the end of each small operation: on a busy machine
    two threads on two cores were measured at a quarter of the speed of one.

    Args:
        device: what the worker computes on, for the log.
        threads: as many at all times, None to share.
        idle: looks for idle cores.
    """

    def __init__(self, device: str, threads: int | None, idle: IdleCores | None = None) -> None:
        self._device = device
        self._threads = threads
        self._idle = idle or IdleCores()
        self._sharing: int | None = None
        self._looked = float("-inf")
        self._left = self._last_look = self._usable = 1

    def share_cores(self, workers_here: int = 1, neighbours: Collection[int] = ()) -> int:
        """Compute with a fair share of the cores: two processes with all of them each are slower than one.

        To be called between two steps; the first call takes a few tenths of a second. The last bits of a result
        depend on the number of threads; with ``threads`` given, they never change.

        Args:
            workers_here: how many share what is left, this one included.
            neighbours: process ids of the others.

        Returns:
            The number of threads.
        """
        import torch

        if self._threads is None and time.monotonic() - self._looked >= _LOOK_EVERY:
            self._usable = usable_cores()
            now = max(1, min(self._usable, round(self._idle.left(neighbours))))
            # idle cores are taken at once; for a moment's work of others none is given up
            self._left, self._last_look = max(now, self._last_look), now
            self._looked = time.monotonic()
        threads = self._threads or max(1, self._left // workers_here)
        if threads != self._sharing:
            self._sharing = threads
            torch.set_num_threads(threads)
            others = self._usable - self._left
            why = f"; other processes use {others} of {count(self._usable, 'core')}" if others else ""
            logger.info("Computing on %s with %s%s.", self._device, count(threads, "thread"), why)
        return threads


def usable_cores() -> int:
    """Processors that this process may use: by its affinity, and by the quotas of its container or job."""
    from joblib import cpu_count

    cores: int = cpu_count()  # which sees a quota only where control groups are mounted
    return min(cores, quota_cores() or cores)
