"""From data to a model within a given time: measured, planned, searched, confirmed, retrained, reported."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gloss_tune.logging import logger
from gloss_tune.pipeline.course import Course, Outcome, Pipeline
from gloss_tune.pipeline.folder import (
    PLAN,
    check_output,
    recalled,
    stored_plan,
    write,
)
from gloss_tune.pipeline.imbalance import balanced, weighs
from gloss_tune.pipeline.pace import Clock
from gloss_tune.pipeline.plan import (
    Given,
    Sizes,
    Speed,
    TimePlan,
    least_time,
    plan_time,
    unlimited,
)
from gloss_tune.pipeline.speed import NO_DATA, measure_speed, whole_dataset
from gloss_tune.spec.spec import StudySpec
from gloss_tune.study.create import create
from gloss_tune.study.study import open_study
from gloss_tune.wording import duration

if TYPE_CHECKING:
    from gloss_tune.signals import StopFlag


def run_pipeline(
    seconds: float | None,
    build: Callable[..., StudySpec],
    given: Given,
    pipeline: Pipeline,
    stop: StopFlag,
) -> Outcome:
    """Spend a time on a study, or as long as it takes, from its making to the report.

    After a stop, the same call goes on where it stood.

    Args:
        seconds: the whole time; None for as long as it takes.
        build: makes the specification of the user's wishes and of a layer over them.
        given: what the user has decided.
        pipeline: what to do, and with what.
        stop: set by signals.

    Raises:
        InputError: something is wrong, or the time too short; nothing was written.
        WorkLeftError: it was stopped before the end.
    """
    check_output(pipeline.output)
    stored = stored_plan(pipeline.output)
    if stored is None:
        plan, spec, speed, sizes = _planned(seconds, build, given, pipeline)
        clock = Clock(plan.seconds)
        opened = create(spec, pipeline.storage, pipeline.name, data_dir=pipeline.options.data_dir).study
        remembered = {"plan": plan.to_dict(), "speed": vars(speed), "sizes": vars(sizes)}
        write(pipeline.output / PLAN, {"study": opened.name, "seconds": seconds, **remembered})
    else:
        logger.info("%s goes on with study %s.", pipeline.output, stored["study"])
        opened = open_study(pipeline.storage, stored["study"])
        plan, speed, sizes = recalled(stored, pipeline.output, limited=seconds is not None)
        clock = Clock(None if seconds is None else pipeline.started + seconds - time.monotonic())
    course = Course(plan, speed, sizes, pipeline, clock, stop)
    opened = course.search(opened)
    course.confirm(opened)
    return course.finish(opened)


def _planned(
    seconds: float | None, build: Callable[..., StudySpec], given: Given, pipeline: Pipeline
) -> tuple[TimePlan, StudySpec, Speed, Sizes]:
    spec = build()
    options, group = pipeline.options, pipeline.group
    chooses = not given.class_weights and weighs(spec)
    whole = whole_dataset(spec, options.data_dir) if chooses or seconds is not None else None
    train: dict[str, Any] = balanced(spec, whole) if chooses and whole is not None else {}
    layer: dict[str, Any] = {}
    if seconds is None:
        speed, sizes = Speed(1, 0.0, 0.0), NO_DATA
        plan = unlimited(spec.trials, spec.most_epochs, spec.max_train_docs)
    else:
        speed, sizes = measure_speed(spec, whole, group.devices[0], options.threads)
        if spec.folds > 1:  # they decide what is validated on
            given = replace(given, max_val_docs=sizes.val)
        left = max(1.0, pipeline.started + seconds - time.monotonic())
        if pipeline.stretches:
            least = least_time(left, speed, sizes, spec.most_epochs, workers=len(group.devices), given=given)
            if least > left:
                logger.info("This machine is slow or busy: it will take about %s.", duration(least))
            left = least
        plan = plan_time(
            left,
            speed,
            sizes,
            spec.most_epochs,
            workers=len(group.devices),
            given=given,
            spent=time.monotonic() - pipeline.started,
        )
        layer |= {"trials": plan.trials, "max_train_docs": plan.max_train_docs}
        layer["max_val_docs"] = plan.max_val_docs
        if given.epochs is None:
            train["epochs"] = plan.epochs
        _say(plan, speed)
    if not spec.first_trials and spec.sampler != "grid":
        layer["first_trials"] = ["customary"]
    return plan, build({**layer, "train": train}), speed, sizes


def _say(plan: TimePlan, speed: Speed) -> None:
    if speed.fixed_seconds is None:
        logger.info(
            "Measured: %.0f documents/s in training, %.0f in validation.",
            speed.batch_size / speed.step_seconds,
            1 / speed.document_seconds,
        )
    for line in plan.lines():
        logger.info("%s", line)
