"""Who asks a worker to hand its trial back in good order, and when it does so: between two epochs, with a checkpoint.

pause, stop   a person, through the study: the trial waits again after its epoch; a paused worker stays
SIGUSR1       a batch system that gives notice: likewise, and the worker leaves
--until       the clock: likewise, before an epoch that would end too late, and at that time at the latest

An epoch is finished however long it takes, unless ``--until`` comes first. (SIGTERM has less time, see
:mod:`gloss_tune.workers.shutdown`.)
"""

from __future__ import annotations

import time
from collections.abc import Callable

from gloss_tune.queue.steering import Steering
from gloss_tune.signals import StopFlag
from gloss_tune.wording import duration

_WORDS = {Steering.paused: "the study is paused", Steering.stopped: "the study is stopped"}


class Notice:
    """Follows the epochs of a worker's trials and says when one is to be handed back.

    Args:
        stop: set by signals.
        steering: what is asked of the study's workers, as far as this one has heard.
        until: seconds since the epoch; None for no end.
        epoch_seconds: how long an epoch takes, as known from other workers; None where nobody knows.
        clock: the time, in seconds since the epoch.
    """

    def __init__(
        self,
        stop: StopFlag,
        steering: Callable[[], Steering | None],
        until: float | None = None,
        epoch_seconds: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stop = stop
        self._steering = steering
        self._until = until
        self._epoch_seconds = epoch_seconds
        self._clock = clock
        self._began = clock()
        self._steps = 0
        self._loses_nothing = True
        self._after_epoch: str | None = None

    @property
    def after_epoch(self) -> bool:
        """Whether the trial is handed back after the epoch that has just ended: its state must be kept."""
        return self._after_epoch is not None

    def leaves(self) -> str | None:
        """Why the worker is to begin no trial and leave, in words; None if it is not.

        The study's own steering is not looked at here: no trial can be claimed while it is there.
        """
        if self._stop.asked:
            return "asked to leave (SIGUSR1)"
        if self._until is None:
            return None
        left = self._until - self._clock()
        if left <= 0:
            return "the time is up (--until)"
        if self._epoch_seconds is not None and self._epoch_seconds > left:
            return f"an epoch takes {duration(self._epoch_seconds)}, and {duration(left)} are left (--until)"
        return None

    def trial_begins(self) -> None:
        """A trial is about to run; what is not begun can be handed back at no cost."""
        self._began, self._steps, self._loses_nothing, self._after_epoch = self._clock(), 0, True, None

    def epoch_ended(self) -> None:
        """An epoch was reported; its state can be kept now."""
        now = self._clock()
        self._epoch_seconds, self._began, self._steps, self._loses_nothing = now - self._began, now, 0, False
        self._after_epoch = self._reason()

    def breaks_off(self) -> str | None:
        """Between two steps: why to hand the trial back here, in words; None to go on."""
        self._steps += 1
        if self._until is not None and self._clock() >= self._until:
            return "the time is up (--until)"
        if self._steps > 1:
            return None
        return self._reason() if self._loses_nothing else self._after_epoch

    def _reason(self) -> str | None:
        steering = self._steering()
        return _WORDS[steering] if steering is not None else self.leaves()
