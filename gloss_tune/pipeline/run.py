"""From data to a model within a given time: measured, planned, searched, confirmed, retrained, reported."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gloss_tune.atomic import write_whole
from gloss_tune.confirm.confirmation import confirm
from gloss_tune.confirm.export import export
from gloss_tune.errors import InputError
from gloss_tune.filesystem import why_not_writable
from gloss_tune.finetune.model_folder import DESCRIPTION
from gloss_tune.launch.group import Group, finish_study
from gloss_tune.logging import logger
from gloss_tune.pipeline.plan import (
    CONFIRMATIONS,
    Given,
    Sizes,
    Speed,
    TimePlan,
    final_training,
    least_time,
    plan_time,
    unlimited,
)
from gloss_tune.pipeline.speed import NO_DATA, corrected, measure_speed
from gloss_tune.pipeline.story import CUSTOMARY_TRIAL, begins_with_customary, gain
from gloss_tune.report import ReportOptions, write_report
from gloss_tune.retrain.retrain import RetrainOptions, retrain
from gloss_tune.spec.spec import StudySpec
from gloss_tune.study.create import create
from gloss_tune.study.extend import extend
from gloss_tune.study.results import best_trial
from gloss_tune.study.status import finished_of, trial_counts, trials
from gloss_tune.study.study import OpenStudy, open_study
from gloss_tune.wording import count, duration

if TYPE_CHECKING:
    from gloss_tune.signals import StopFlag
    from gloss_tune.workers.options import WorkerOptions

PLAN, BEST, MODEL, REPORT = "plan.json", "best.json", "model", "report.html"


@dataclass(frozen=True)
class Pipeline:
    """What to do, and with what.

    Args:
        storage: the database.
        name: the study's name; None for the default one.
        output: folder for the model, the best parameters and the report.
        options: of each worker.
        group: the workers.
        started: when the time began, by ``time.monotonic``.
        stretches: where the time is too short, take the shortest that is not.
    """

    storage: str
    name: str | None
    output: Path
    options: WorkerOptions
    group: Group
    started: float
    stretches: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Args:
        study: the study.
        exported: its best parameters.
        gained: what tuning gained, in words.
        test: test metrics of the model; None without test documents, or in a rehearsal.
        seconds: that it took.
    """

    study: OpenStudy
    exported: dict[str, Any]
    gained: str
    test: dict[str, Any] | None
    seconds: float

    def lines(self, output: Path, limit: float | None) -> list[str]:
        """What came of it and what to do next, for people.

        Args:
            output: the folder.
            limit: the time that was given; None without one.
        """
        said = [self.gained]
        if self.test is not None:
            said.append(
                f"On the test documents: accuracy {self.test['accuracy']:.4f}, macro-F1 {self.test['macro_f1']:.4f}."
            )
        given = "" if limit is None else f" of {duration(limit)}"
        said.append(f"Took {duration(self.seconds)}{given}.")
        if (output / REPORT).is_file():
            said.append(f"The report: {output / REPORT}")
        if (output / MODEL).is_dir():
            said.append(f"Try the model: gloss-tune predict --model {output / MODEL} FILE")
        return said


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
    _check_output(pipeline.output)
    stored = _stored_plan(pipeline.output)
    if stored is None:
        plan, spec, speed, sizes = _planned(seconds, build, given, pipeline)
        clock = _Clock(None if plan.seconds is None else time.monotonic() + plan.seconds)
        opened = create(spec, pipeline.storage, pipeline.name, data_dir=pipeline.options.data_dir).study
        _write(
            pipeline.output / PLAN,
            {"study": opened.name, "seconds": seconds, **_remembered(plan, speed, sizes)},
        )
    else:
        logger.info("%s goes on with study %s.", pipeline.output, stored["study"])
        opened = open_study(pipeline.storage, stored["study"])
        plan, speed, sizes = TimePlan(**stored["plan"]), Speed(**stored["speed"]), Sizes(**stored["sizes"])
        clock = _Clock(None if seconds is None else pipeline.started + seconds)
    opened = _search(opened, plan, pipeline, clock, stop)
    speed = corrected(speed, _slowness(opened, plan))
    _confirm(opened, plan, pipeline, clock, stop)
    return _finish(opened, plan, speed, sizes, pipeline, clock, stop)


class _Clock:
    """When it must be done; without a limit, there is always time.

    Args:
        end: by ``time.monotonic``; None for no limit.
    """

    def __init__(self, end: float | None) -> None:
        self._end = math.inf if end is None else end

    def left(self, reserved: float = 0.0) -> float:
        """Seconds to the end, without what is reserved."""
        return self._end - reserved - time.monotonic()


def _planned(
    seconds: float | None, build: Callable[..., StudySpec], given: Given, pipeline: Pipeline
) -> tuple[TimePlan, StudySpec, Speed, Sizes]:
    spec = build()
    options, group = pipeline.options, pipeline.group
    layer: dict[str, Any] = {}
    if seconds is None:
        speed, sizes = Speed(1, 0.0, 0.0), NO_DATA
        plan = unlimited(spec.trials, spec.most_epochs, spec.max_train_docs)
    else:
        speed, sizes = measure_speed(spec, group.devices[0], options.threads, options.data_dir)
        if spec.folds > 1:  # they decide what is validated on
            given = replace(given, max_val_docs=sizes.val)
        left = max(1.0, pipeline.started + seconds - time.monotonic())
        if pipeline.stretches:
            least = least_time(left, speed, sizes, spec.most_epochs, workers=len(group.devices), given=given)
            if least > left:
                logger.info("This machine is slow or busy: it will take about %s.", duration(least))
            left = least
        plan = plan_time(left, speed, sizes, spec.most_epochs, workers=len(group.devices), given=given)
        layer |= {"trials": plan.trials, "max_train_docs": plan.max_train_docs}
        layer["max_val_docs"] = plan.max_val_docs
        if given.epochs is None:
            layer["train"] = {"epochs": plan.epochs}
        _say(plan, speed)
    if not spec.first_trials and spec.sampler != "grid":
        layer["first_trials"] = ["customary"]
    return plan, build(layer), speed, sizes


def _say(plan: TimePlan, speed: Speed) -> None:
    if speed.fixed_seconds is None:
        logger.info(
            "Measured: %.0f documents/s in training, %.0f in validation.",
            speed.batch_size / speed.step_seconds,
            1 / speed.document_seconds,
        )
    for line in plan.lines():
        logger.info("%s", line)


def _search(
    opened: OpenStudy, plan: TimePlan, pipeline: Pipeline, clock: _Clock, stop: StopFlag
) -> OpenStudy:
    """Run the trials, and as many more as there is time for."""
    reserved = plan.confirm_seconds + plan.retrain_seconds + plan.report_seconds
    begun, before = time.monotonic(), finished_of(trial_counts(opened))
    while clock.left(reserved) > 0:
        _work(opened, pipeline, clock.left(reserved), stop)
        now = trial_counts(opened)
        ended = finished_of(now) - before
        if not plan.open_ended or now["waiting"] or now["running"] or not ended:
            break
        more = int(clock.left(reserved) / ((time.monotonic() - begun) / ended))
        if more < 1:
            break
        try:
            extend(opened, min(more, 1000))
        except InputError as error:  # a finite space is used up
            logger.info("%s.", error)
            break
        opened = open_study(pipeline.storage, opened.name)
    left = trial_counts(opened)["waiting"]
    if left:
        logger.warning(
            "The search's time is over; %s left waiting ('gloss-tune worker' runs them).",
            count(left, "trial"),
        )
    return opened


def _confirm(opened: OpenStudy, plan: TimePlan, pipeline: Pipeline, clock: _Clock, stop: StopFlag) -> None:
    """Train the best settings and the customary one again, with as many fresh seeds as there is time for."""
    left = clock.left(plan.retrain_seconds + plan.report_seconds)
    if not plan.top or best_trial(opened) is None:
        return
    trial, workers = _full_seconds(opened) or plan.trial_seconds, len(pipeline.group.devices)
    chosen = next(
        ((top, seeds) for top, seeds in CONFIRMATIONS if -(-(top + 1) * seeds // workers) * trial <= left),
        None,
    )
    if chosen is None:
        logger.warning("There is no time left to confirm the best settings.")
        return
    also = [CUSTOMARY_TRIAL] if begins_with_customary(opened) else []
    queued = confirm(opened, *chosen, also=also)
    logger.info("Confirming: %s.", count(len(queued.plan.runs()), "run"))
    _work(queued.study, pipeline, left, stop)


def _finish(
    opened: OpenStudy,
    plan: TimePlan,
    speed: Speed,
    sizes: Sizes,
    pipeline: Pipeline,
    clock: _Clock,
    stop: StopFlag,
) -> Outcome:
    """The best parameters, the model and the report."""
    output, options = pipeline.output, pipeline.options
    exported = export(opened)
    _write(output / BEST, exported)
    model = None if opened.spec.rehearse else output / MODEL
    test = None
    if model is not None and not (model / DESCRIPTION).exists():
        sizes = replace(sizes, val=plan.max_val_docs or sizes.val)
        _, docs = final_training(clock.left(plan.report_seconds), speed, sizes, opened.spec.most_epochs)
        device = pipeline.group.devices[0]
        wanted = RetrainOptions(
            model, max_train_docs=docs, device=device, threads=options.threads, data_dir=options.data_dir
        )
        test = retrain(opened, wanted, stop)["test"]
    if _can_report():
        report = ReportOptions(output, options.artifacts, model, options.data_dir, pipeline.group.devices[0])
        write_report(opened, report)
    seconds = time.monotonic() - pipeline.started
    return Outcome(opened, exported, gain(opened), test, seconds)


def _work(opened: OpenStudy, pipeline: Pipeline, seconds: float, stop: StopFlag) -> None:
    options = replace(pipeline.options, timeout=seconds if math.isfinite(seconds) else None)
    finish_study(opened, pipeline.storage, options, pipeline.group, stop)


def _full_seconds(opened: OpenStudy) -> float | None:
    """What a trial took that was not pruned."""
    took = [row["seconds"] for row in trials(opened) if row["state"] == "complete" and row["seconds"]]
    return sum(took) / len(took) if took else None


def _slowness(opened: OpenStudy, plan: TimePlan) -> float:
    """How many times as long as foretold a trial took; no less than half, since trials may end early."""
    took = _full_seconds(opened)
    return 1.0 if took is None or not plan.trial_seconds else max(0.5, took / plan.trial_seconds)


def _check_output(output: Path) -> None:
    why = why_not_writable(output)
    if why is None and output.exists() and not output.is_dir():
        why = "it is a file"
    if why is None and output.is_dir() and any(output.iterdir()) and not (output / PLAN).is_file():
        why = "it holds other files"
    if why is not None:
        raise InputError(
            f"--output {output} must be a new folder, or that of an earlier run ({why}); name another"
        )
    if not _can_report():
        logger.warning("There will be no report: it needs matplotlib; pip install 'gloss-tune[report]'.")


def _can_report() -> bool:
    return find_spec("matplotlib") is not None


def _stored_plan(output: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((output / PLAN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{output / PLAN} cannot be read ({error}); name another --output") from None
    return found


def _remembered(plan: TimePlan, speed: Speed, sizes: Sizes) -> dict[str, Any]:
    return {"plan": plan.to_dict(), "speed": vars(speed), "sizes": vars(sizes)}


def _write(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")
