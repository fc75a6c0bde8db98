"""A pass through the encoder whose dropout comes from a seed, whatever ran before or runs beside it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
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


class ConcurrentPass(SeededPass):
    """By a generator of its own, for encoders whose dropout is all ours: beside others in other threads."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
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


class _Thread(threading.local):
    current: ConcurrentPass | None = None


_thread = _Thread()


def dropout_seed() -> int:
    """What decides one dropout's draws: from the generator of this thread's concurrent pass, else from torch's."""
    own = _thread.current
    return int(torch.randint(2**62, (), generator=own.generator if own else None))
