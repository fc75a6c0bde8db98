"""How long the rest of a run will take, as the trials so far tell, and how much time there is for it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from gloss_tune.pipeline.plan import (
    CONFIRM_SHARE,
    RETRAIN_SHARE,
    Sizes,
    Speed,
    TimePlan,
    confirming_seconds,
    final_training,
)
from gloss_tune.pipeline.speed import corrected
from gloss_tune.study.status import trials
from gloss_tune.study.study import OpenStudy

# the latest trials, which tell how busy the machine is now
_LATEST = 8
# a model is written, loaded and measured after its training
_AROUND_TRAINING = 2.0


class Clock:
    """When it must be done; without a limit, there is always time.

    Args:
        seconds: from now; None for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self.end = math.inf if seconds is None else time.monotonic() + seconds

    def left(self, reserved: float = 0.0) -> float:
        """Seconds to the end, without what is reserved."""
        return self.end - reserved - time.monotonic()


@dataclass(frozen=True)
class Pace:
    """What the rest takes.

    Args:
        again: seconds of a run that repeats a trial for a confirmation.
        confirm: seconds of the confirmation that was planned, no more than its share of the time.
        retrain: seconds of the final training, with its measurement.
        report: seconds of the report.
        speed: of the machine, as the latest trials had it.
    """

    again: float
    confirm: float
    retrain: float
    report: float
    speed: Speed

    @property
    def rest(self) -> float:
        """All that follows the search."""
        return self.confirm + self.retrain + self.report


def pace(opened: OpenStudy, plan: TimePlan, speed: Speed, sizes: Sizes, workers: int) -> Pace:
    """What was planned, at the pace of the latest trials; before the first has ended, at the pace of the plan.

    Args:
        opened: the study.
        plan: how the time was to be spent.
        speed: as measured before the plan.
        sizes: of the data set.
        workers: how many trials run at the same time.
    """
    if plan.seconds is None:
        return Pace(0.0, 0.0, 0.0, 0.0, speed)
    ended = [row for row in trials(opened) if row["state"] in ("complete", "pruned") and row["seconds"]]
    latest, whole = ended[-_LATEST:], [row["seconds"] for row in ended if row["state"] == "complete"]
    # a trial of several trainings reports once for each
    reports = plan.epochs if speed.trainings == 1 else speed.trainings
    factor = 1.0
    if latest and plan.trial_seconds:
        reported = sum(max(1, row["epochs"]) for row in latest)
        factor = (sum(row["seconds"] for row in latest) / reported) / (plan.trial_seconds / reports)
    # a trial that loses patience is shorter than planned
    trial = sum(whole[-_LATEST:]) / len(whole[-_LATEST:]) if whole else plan.trial_seconds * factor
    again, now = trial / speed.seeds, corrected(speed, factor)
    free = plan.seconds - plan.report_seconds
    confirm = confirming_seconds(plan.top, plan.seeds, again, workers) if plan.top else 0.0
    retrain = 0.0
    if speed.fixed_seconds is None:
        retrain = _AROUND_TRAINING + final_training(RETRAIN_SHARE * free, now, sizes, plan.epochs)[0]
    return Pace(
        again,
        min(confirm, CONFIRM_SHARE * free),
        min(retrain, 1.5 * RETRAIN_SHARE * free),
        plan.report_seconds,
        now,
    )
