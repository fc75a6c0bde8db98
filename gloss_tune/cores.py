"""A worker's share of its machine's cores: how many threads torch computes with."""

from __future__ import annotations

import os

from gloss_tune.logging import logger
from gloss_tune.wording import count


class CoreShare:
    """Sets torch's threads to a fair share of the cores, and again as workers come and go.

    Args:
        device: what the worker computes on, for the log.
        threads: as many at all times, None to share.
    """

    def __init__(self, device: str, threads: int | None) -> None:
        self._device = device
        self._threads = threads
        self._sharing: int | None = None
        self._others = 0.0

    def check_load(self, workers_here: int) -> None:
        """Between two trials: how many cores do processes that are not the study's keep busy?

        A torch thread that waits for a core stops all the others at the end of each small operation: on a busy
        machine two threads on two cores were measured at a quarter of the speed of one.
        """
        if hasattr(os, "getloadavg"):
            ours = workers_here * (self._sharing or 0)
            self._others = max(0.0, os.getloadavg()[0] - ours)

    def share_cores(self, workers_here: int) -> int:
        """Compute with a fair share of the cores: two processes with all of them each are slower than one.

        The last bits of a result depend on the number of threads; with ``threads`` given, they never change.

        Returns:
            The number of threads.
        """
        import torch

        # others may as well use the machine's cores that this process may not: of a container, most
        left = max(1, min(usable_cores(), round(machine_cores() - self._others)))
        threads = self._threads or max(1, left // workers_here)
        if threads != self._sharing:
            self._sharing = threads
            torch.set_num_threads(threads)
            logger.info("Computing on %s with %s.", self._device, count(threads, "thread"))
        return threads


def usable_cores() -> int:
    """Processors that this process may use: by its affinity, and by its container's quota."""
    from joblib import cpu_count

    cores: int = cpu_count()
    return cores


def machine_cores() -> int:
    """Processors of the whole machine, which the load average is about."""
    return os.cpu_count() or 1
