"""Two chunks at once on a CPU, each in a thread of its own.

torch splits an operation among its threads and waits for the last of them. Between operations, and in those too small
to be split, all cores but one are idle. A thread that takes a whole chunk through the encoder waits for nobody: MR
trained at 147 documents a second in place of 127, on two cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Protocol, TypeVar

import torch

from gloss_tune.encoder import Encoder
from gloss_tune.finetune.chunking import ChunkLimit

T = TypeVar("T")


class Runner(Protocol):
    """Runs tasks on a batch's chunks; ``count`` of them at a time."""

    count: int

    def run(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """Their results, in their order. All have ended when this returns or raises."""
        ...


class InTurn:
    """One after the other, in the calling thread."""

    count = 1

    def run(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """See :class:`Runner`."""
        return [task() for task in tasks]


class SideBySide:
    """In two threads, each with half of the cores.

    Args:
        cores: as ``torch.get_num_threads()`` says, at least 2.
    """

    count = 2

    def __init__(self, cores: int) -> None:
        self._executors = [
            ThreadPoolExecutor(1, "chunks", _compute_with, (cores // self.count,)) for _ in range(self.count)
        ]
        for executor in self._executors:
            executor.submit(int).result()
        # what the last of them said holds for threads to come, but not for those there are
        torch.set_num_threads(cores)

    def run(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """See :class:`Runner`; which thread takes a task depends on its number alone.

        They compute under the caller's autocast and with gradients as the caller has them.
        """
        modes = _Modes()
        futures = [
            self._executors[number % self.count].submit(modes.call, task) for number, task in enumerate(tasks)
        ]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()  # after an error, what has not begun
            wait(futures)


def _compute_with(cores: int) -> None:
    torch.get_num_threads()  # a thread's first call makes its number the process's, even after it was set
    torch.set_num_threads(cores)


class _Modes:
    """The calling thread's autocast and gradient modes, which torch keeps for each thread."""

    def __init__(self) -> None:
        self._inference = torch.is_inference_mode_enabled()
        self._gradients = torch.is_grad_enabled()
        self._autocast = torch.is_autocast_enabled("cpu")
        self._dtype = torch.get_autocast_dtype("cpu")

    def call(self, task: Callable[[], T]) -> T:
        with (
            torch.inference_mode(self._inference),
            torch.set_grad_enabled(self._gradients),
            # a chunk uses each weight once; a cache of cast weights would only be shared with the other threads
            torch.autocast("cpu", self._dtype, self._autocast, cache_enabled=False),
        ):
            return task()


def runner_for(encoder: Encoder, limit: ChunkLimit) -> Runner:
    """Two threads where the encoder allows it, torch may use as many cores, and memory has not run short."""
    if limit.lowered is not None or not encoder.concurrent:
        return InTurn()
    return runner_of(torch.get_num_threads())


def runner_of(cores: int) -> Runner:
    """Two threads where torch may use as many cores."""
    # of three, two halves would leave one idle
    return InTurn() if cores in (1, 3) else _side_by_side(cores, os.getpid())


@cache
def _side_by_side(cores: int, process: int) -> SideBySide:
    """For the rest of the process; a forked one has none of its parent's threads."""
    return SideBySide(cores)
