"""A pass through the encoder whose dropout comes from a seed, whatever ran before or runs beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


class SeededPass:
    """By torch's default generators: one pass at a time.

    Args:
        seed: of the draws.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run the pass in here; again and again it draws the same."""
        with torch.random.fork_rng(devices=[]):  # later seeds come from the CPU's generator alone
            torch.manual_seed(self._seed)
            yield

    def finish(self) -> None:
        """Do what could not be done while other passes ran."""


class ConcurrentPass(SeededPass):
    """By a generator of its own, for encoders whose dropout is all ours: beside others in other threads.

    Threads also share the weights' ``grad``, where who comes first would decide the rounding. A gradient that a
    module writes by itself while its pass is entered waits for :meth:`finish`.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._writes: list[Callable[[], None]] = []
        self.generator = torch.Generator()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run the pass, or its way back, in here."""
        self.generator.manual_seed(self._seed)
        _thread.current = self
        try:
            yield
        finally:
            _thread.current = None

    def defer(self, write: Callable[[], None]) -> None:
        """Keep a write to shared weights for :meth:`finish`."""
        self._writes.append(write)

    def finish(self) -> None:
        """Do what was deferred, in its order."""
        for write in self._writes:
            write()
        self._writes.clear()


class _Thread(threading.local):
    current: ConcurrentPass | None = None


_thread = _Thread()


def dropout_seed() -> int:
    """What decides one dropout's draws: from the generator of this thread's concurrent pass, else from torch's."""
    own = _thread.current
    return int(torch.randint(2**62, (), generator=own.generator if own else None))


def write_gradient(write: Callable[[], None]) -> None:
    """Write to shared weights: now, or where a concurrent pass is entered when it finishes."""
    if _thread.current is None:
        write()
    else:
        _thread.current.defer(write)
