"""When a trial is handed back in good order: after its epoch, with nothing lost, and before the time is up."""

from __future__ import annotations

import pytest

from gloss_tune.queue.steering import Steering
from gloss_tune.signals import LEAVE, StopFlag
from gloss_tune.workers.notice import Notice


class World:
    """A clock, a flag and a steering that the test moves."""

    def __init__(self, until: float | None = None, epoch_seconds: float | None = None) -> None:
        self.now = 1000.0
        self.stop = StopFlag()
        self.steering: Steering | None = None
        self.notice = Notice(self.stop, lambda: self.steering, until, epoch_seconds, lambda: self.now)

    def epoch(self, seconds: float = 10.0, steps: int = 5) -> str | None:
        """Run an epoch; why it was broken off, None if it ended."""
        for _ in range(steps):
            if (reason := self.notice.breaks_off()) is not None:
                return reason
            self.now += seconds / steps
        self.notice.epoch_ended()
        return None


def test_without_a_notice_every_epoch_runs() -> None:
    world = World()
    world.notice.trial_begins()
    assert [world.epoch() for _ in range(5)] == [None] * 5
    assert not world.notice.after_epoch
    assert world.notice.leaves() is None


@pytest.mark.parametrize("asked", [*Steering, "SIGUSR1"])
def test_a_notice_in_an_epoch_lets_it_end_however_long_it_takes(asked: Steering | str) -> None:
    world = World()
    world.notice.trial_begins()
    world.epoch()
    assert world.notice.breaks_off() is None  # the next epoch begins
    if isinstance(asked, Steering):
        world.steering = asked
    else:
        world.stop.set(LEAVE)
    world.now += 100_000
    assert world.notice.breaks_off() is None
    assert not world.notice.after_epoch
    world.notice.epoch_ended()
    assert world.notice.after_epoch  # a checkpoint is wanted
    assert (asked.value if isinstance(asked, Steering) else asked) in str(world.notice.breaks_off())


def test_a_notice_after_the_checkpoint_was_due_waits_for_the_next_epoch() -> None:
    """It comes between two epochs, when the last one's state may not have been kept: that must not be lost."""
    world = World()
    world.notice.trial_begins()
    world.epoch()
    world.steering = Steering.paused
    assert world.epoch() is None
    assert world.notice.after_epoch
    assert world.epoch() is not None


def test_a_trial_that_has_not_begun_is_handed_back_at_once() -> None:
    world = World()
    world.steering = Steering.stopped
    world.notice.trial_begins()
    assert world.epoch() == "the study is stopped"


def test_a_study_that_goes_on_again_in_time_interrupts_nothing() -> None:
    world = World()
    world.notice.trial_begins()
    world.notice.breaks_off()
    world.steering = Steering.paused
    assert world.notice.breaks_off() is None
    world.steering = None
    world.notice.epoch_ended()
    assert world.epoch() is None


def test_steering_alone_lets_no_worker_leave() -> None:
    """Nothing can be claimed then, and whether to wait or to leave is the loop's affair."""
    world = World()
    world.steering = Steering.stopped
    assert world.notice.leaves() is None


def test_an_epoch_that_would_end_too_late_is_not_begun() -> None:
    world = World(until=1035.0)
    world.notice.trial_begins()
    assert [world.epoch() for _ in range(3)] == [None] * 3
    assert world.notice.after_epoch
    assert "--until" in str(world.epoch())
    assert "--until" in str(world.notice.leaves())


def test_an_epoch_that_takes_longer_than_the_last_is_left_when_the_time_is_up() -> None:
    world = World(until=1035.0)
    world.notice.trial_begins()
    assert world.epoch() is None
    assert world.epoch(seconds=30.0, steps=10) == "the time is up (--until)"
    assert world.now <= 1035.0 + 30.0 / 10


def test_what_an_epoch_takes_is_known_from_others_and_then_from_oneself() -> None:
    assert World(until=1035.0).notice.leaves() is None  # nobody knows: it is tried
    assert World(until=1035.0, epoch_seconds=30.0).notice.leaves() is None
    slow = World(until=1035.0, epoch_seconds=40.0)
    assert "40 s" in str(slow.notice.leaves())
    slow.notice.trial_begins()
    slow.notice.epoch_ended()  # at once: this machine is quicker
    assert slow.notice.leaves() is None
