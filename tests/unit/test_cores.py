"""How many threads a worker computes with, beside its neighbours and on a busy machine."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Collection, Iterator

import pytest
import torch

from gloss_tune import cores
from gloss_tune.cores import CoreShare


class Idle:
    """Says what is left; a real one looks at the machine."""

    def __init__(self, left: float = 8.0) -> None:
        self.cores, self.looks, self.neighbours = left, 0, list[Collection[int]]()

    def left(self, neighbours: Collection[int] = ()) -> float:
        self.looks += 1
        self.neighbours.append(neighbours)
        return self.cores


def share(idle: Idle | None = None, threads: int | None = None, device: str = "cpu") -> CoreShare:
    return CoreShare(device, threads, idle or Idle())  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(cores, "usable_cores", lambda: 8)
    monkeypatch.setattr(cores, "_LOOK_EVERY", 0.0)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("workers", "threads"), [(1, 8), (2, 4), (3, 2), (8, 1), (20, 1)])
def test_workers_share_the_cores(workers: int, threads: int) -> None:
    assert share().share_cores(workers) == threads == torch.get_num_threads()


def test_a_number_that_was_asked_for_never_changes_and_nobody_looks() -> None:
    idle = Idle(0.0)
    own = share(idle, threads=3)
    assert [own.share_cores(workers) for workers in (1, 4)] == [3, 3]
    assert torch.get_num_threads() == 3
    assert not idle.looks


@pytest.mark.parametrize(
    ("left", "workers", "threads"),
    [(8.0, 1, 8), (7.6, 1, 8), (7.4, 1, 7), (2.0, 2, 1), (0.0, 1, 1), (64.0, 1, 8), (4.2, 2, 2)],
)
def test_busy_cores_are_left_alone(left: float, workers: int, threads: int) -> None:
    assert share(Idle(left)).share_cores(workers) == threads


def test_two_workers_that_start_together_on_two_cores_end_with_a_thread_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: 2)
    idle = Idle(2.0)
    own = share(idle)
    assert own.share_cores(1) == 2, "the other is not registered yet"
    idle.cores = 1.1  # but computes already
    assert [own.share_cores(1) for _ in range(2)] == [2, 1]
    idle.cores = 2.0  # registered: no stranger any more
    assert own.share_cores(2, [77]) == 1
    assert idle.neighbours[-1] == [77]
    assert own.share_cores(1) == 2, "it has left"


def test_cores_are_taken_at_once_and_given_up_when_two_looks_say_so() -> None:
    idle = Idle(3.0)
    own = share(idle)
    seen = [own.share_cores()]
    for idle.cores in (8.0, 4.0, 8.0, 4.0, 5.0, 5.0, 8.0):
        seen.append(own.share_cores())
    assert seen == [3, 8, 8, 8, 8, 5, 5, 8]


def test_the_machine_is_looked_at_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_LOOK_EVERY", 1000.0)
    idle = Idle()
    own = share(idle)
    assert [own.share_cores(workers) for workers in (1, 1, 2, 1)] == [8, 8, 4, 8]
    assert idle.looks == 1


def test_only_a_change_is_told_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    idle = Idle()
    own = share(idle, device="cuda:1")
    with caplog.at_level(logging.INFO, "gloss_tune"):
        for workers in (8, 8, 2):
            own.share_cores(workers)
        idle.cores = 5.9
        own.share_cores(2)
        own.share_cores(1)
    assert caplog.messages == [
        "Computing on cuda:1 with 1 thread.",
        "Computing on cuda:1 with 4 threads.",
        "Computing on cuda:1 with 6 threads; other processes use 2 of 8 cores.",
    ]


def test_cores_that_a_process_may_not_use_do_not_count() -> None:
    source = """
import os
from gloss_tune.cores import usable_cores
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(usable_cores())
"""
    if sys.platform != "linux":
        pytest.skip("the system knows no affinity")
    assert subprocess.check_output([sys.executable, "-c", source], text=True) == "1\n"
