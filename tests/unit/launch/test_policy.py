"""The rules of restarting, on a clock of our own."""

from __future__ import annotations

import signal

import pytest

from gloss_tune.launch.policy import RestartPolicy, why_ended


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_pauses_double_until_the_fifth_death_ends_it(clock: Clock) -> None:
    policy = RestartPolicy(clock, jitter=lambda: 0.0)
    assert [policy.died(1) for _ in range(4)] == [1, 2, 4, 8]
    clock.now += 1000
    assert policy.start_due() == [1]
    assert policy.died(1) is None
    assert not policy.waiting


def test_jitter_adds_a_tenth_at_most(clock: Clock) -> None:
    policy = RestartPolicy(clock, jitter=lambda: 1.0)
    assert [policy.died(1) for _ in range(3)] == pytest.approx([1.1, 2.2, 4.4])


def test_a_worker_is_due_after_its_pause_and_once(clock: Clock) -> None:
    policy = RestartPolicy(clock, jitter=lambda: 0.0)
    policy.died(2)
    policy.died(1)
    policy.died(3)
    clock.now += 0.9
    assert policy.start_due() == []
    assert policy.waiting
    clock.now += 0.2
    assert policy.start_due() == [1, 2, 3]
    assert policy.start_due() == []
    assert not policy.waiting


def test_each_worker_has_its_own_pauses(clock: Clock) -> None:
    policy = RestartPolicy(clock, jitter=lambda: 0.0)
    assert (policy.died(1), policy.died(1), policy.died(2)) == (1, 2, 1)
    clock.now += 1.5
    assert policy.start_due() == [2]
    clock.now += 1
    assert policy.start_due() == [1]


def test_a_finished_trial_forgives_its_own_worker_only(clock: Clock) -> None:
    """A neighbour's success says nothing about a worker's broken device."""
    policy = RestartPolicy(clock, jitter=lambda: 0.0)
    for _ in range(4):
        assert [policy.died(1) for _ in range(4)] == [1, 2, 4, 8]
        policy.progressed(1)
    assert policy.waiting  # who was about to be started still is
    assert [policy.died(2) for _ in range(4)] == [1, 2, 4, 8]
    policy.progressed(1)
    policy.progressed(3)
    assert policy.died(2) is None


def test_a_group_that_stops_starts_nobody(clock: Clock) -> None:
    policy = RestartPolicy(clock)
    policy.died(1)
    policy.stop()
    clock.now += 100
    assert policy.start_due() == []
    assert not policy.waiting


@pytest.mark.parametrize(
    ("exit_code", "said"),
    [
        (-signal.SIGKILL, "killed (SIGKILL), perhaps by the system for want of memory"),
        (-signal.SIGSEGV, "killed (SIGSEGV)"),
        (-1000, "killed (signal 1000)"),
        (255, "lost, since the process that started it was killed"),
        (3, "ended with exit code 3 without a reason"),
        (0, "ended with exit code 0 without a reason"),
    ],
)
def test_an_end_in_plain_words(exit_code: int, said: str) -> None:
    assert why_ended(exit_code) == said


def test_a_worker_that_lived_for_long_starts_from_the_beginning(clock: Clock) -> None:
    """Trials of hours, and a machine that kills now and then: that is no broken worker."""
    policy = RestartPolicy(clock, jitter=lambda: 0.0)
    for _ in range(20):
        policy.started(1)
        clock.now += 700
        assert policy.died(1) == 1
    for pause in (2, 4, 8):
        policy.started(1)
        clock.now += 500
        assert policy.died(1) == pause
    policy.started(1)
    clock.now += 500
    assert policy.died(1) is None
