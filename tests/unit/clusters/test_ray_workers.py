"""What becomes of a job's workers, without Ray: which ends are followed by a new start, and what ends all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from gloss_tune.clusters.ray_workers import Next, look_after, what_follows
from gloss_tune.signals import StopFlag

COMMAND = ("worker", "--leave-when-empty", "--grace", "5")
STAYING = ("worker", "--grace", "5")


@dataclass
class FakeTasks:
    """Workers that end at once, each with its next exit code."""

    codes: dict[int, list[int | None]]
    before_look: Callable[[], None] = lambda: None
    started: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    running: set[int] = field(default_factory=set)
    cancelled: set[int] | None = None

    def start(self, worker: int, command: Sequence[str]) -> None:
        assert worker not in self.running
        self.running.add(worker)
        self.started.append((worker, tuple(command)))

    def ended(self, seconds: float) -> dict[int, int | None]:
        self.before_look()
        if not self.running:
            time.sleep(0.001)
        over = {worker: self.codes[worker].pop(0) for worker in sorted(self.running) if self.codes[worker]}
        self.running -= over.keys()
        return over

    def cancel(self) -> None:
        self.cancelled = set(self.running)


def run(*codes: list[int | None], stop: StopFlag | None = None, **more: object) -> tuple[int, FakeTasks]:
    tasks = FakeTasks({number: list(own) for number, own in enumerate(codes, start=1)}, **more)  # type: ignore[arg-type]
    return look_after(tasks, COMMAND, len(codes), stop or StopFlag(), away_seconds=0.05), tasks


@pytest.mark.parametrize(
    ("code", "restarts", "follows"),
    [
        (0, 0, Next.done),
        (1, 0, Next.gives_up),
        (2, 0, Next.all_end),
        (3, 0, Next.all_end),
        (69, 0, Next.later),
        (69, 99, Next.later),
        (69, 100, Next.gives_up),
        (75, 0, Next.again),
        (75, 5000, Next.again),
        (64, 0, Next.gives_up),
        (128, 0, Next.gives_up),
        (130, 0, Next.again),
        (143, 99, Next.again),
        (143, 100, Next.gives_up),
        (-9, 0, Next.again),
        (-11, 100, Next.gives_up),
        (None, 0, Next.again),
        (None, 100, Next.gives_up),
    ],
)
def test_what_follows_an_end(code: int | None, restarts: int, follows: Next) -> None:
    assert what_follows(code, restarts) is follows


def test_all_end_when_all_are_done() -> None:
    code, tasks = run([0], [0], [0])
    assert code == 0
    assert tasks.started == [(1, COMMAND), (2, COMMAND), (3, COMMAND)]
    assert tasks.cancelled is None


@pytest.mark.parametrize("lost", [None, -9, 137, 143])
def test_a_lost_worker_is_replaced_by_one_that_stays_for_the_trial(lost: int | None) -> None:
    code, tasks = run([0], [lost, 0])
    assert code == 0
    assert tasks.started == [(1, COMMAND), (2, COMMAND), (2, STAYING)]


def test_a_worker_that_has_handed_its_trial_back_is_started_as_before() -> None:
    code, tasks = run([75, 75, 0])
    assert code == 0
    assert tasks.started == [(1, COMMAND)] * 3


def test_a_storage_that_is_away_is_tried_again_after_a_while_without_keeping_the_others() -> None:
    before = time.monotonic()
    code, tasks = run([69, 0], [75, 0])
    assert code == 0
    assert time.monotonic() - before >= 0.05
    assert tasks.started == [(1, COMMAND), (2, COMMAND), (2, COMMAND), (1, STAYING)]


def test_one_that_fails_is_left_out_and_the_whole_has_failed() -> None:
    code, tasks = run([1], [75, 0])
    assert code == 1
    assert tasks.started == [(1, COMMAND), (2, COMMAND), (2, COMMAND)]
    assert tasks.cancelled is None


def test_one_that_crashes_for_ever_is_given_up() -> None:
    code, tasks = run([-11] * 101, [0])
    assert code == 1
    assert sum(worker == 1 for worker, _ in tasks.started) == 101


@pytest.mark.parametrize("end", [2, 3])
def test_what_every_worker_would_meet_ends_all(end: int) -> None:
    code, tasks = run([], [end], [])
    assert code == end
    assert tasks.cancelled == {1, 3}


@pytest.mark.parametrize(("signum", "code"), [(15, 143), (2, 130)])
def test_a_signal_cancels_all(signum: int, code: int) -> None:
    stop = StopFlag()
    found, tasks = run([], [69], stop=stop, before_look=lambda: stop.set(signum))
    assert found == code
    assert tasks.cancelled == {1}, "the one whose storage is away does not run"
