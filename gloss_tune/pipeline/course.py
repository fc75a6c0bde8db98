"""The parts of a run to a model, one after the other, each given the time that those before it have left."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gloss_tune.confirm.confirmation import confirm
from gloss_tune.confirm.export import export
from gloss_tune.errors import InputError
from gloss_tune.finetune.model_folder import DESCRIPTION
from gloss_tune.launch.group import Group, finish_study
from gloss_tune.logging import logger
from gloss_tune.pipeline.folder import (
    BEST,
    MODEL,
    REPORT,
    can_report,
    write,
)
from gloss_tune.pipeline.pace import Clock, Pace, pace
from gloss_tune.pipeline.plan import (
    CONFIRMATIONS,
    Sizes,
    Speed,
    TimePlan,
    confirming_seconds,
    final_training,
)
from gloss_tune.pipeline.story import CUSTOMARY_TRIAL, begins_with_customary, gain
from gloss_tune.report import ReportOptions, write_report
from gloss_tune.retrain.retrain import RetrainOptions, retrain
from gloss_tune.study.extend import extend
from gloss_tune.study.results import best_trial
from gloss_tune.study.status import finished_of, trial_counts
from gloss_tune.study.study import OpenStudy, open_study
from gloss_tune.wording import count, duration

if TYPE_CHECKING:
    from gloss_tune.signals import StopFlag
    from gloss_tune.workers.options import WorkerOptions

# more of them tell no more
_MOST_CONFIRMING = 20
# of a chunk of trials, so that what the latest of them took decides how many follow
_AT_ONCE = 0.6


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


@dataclass(frozen=True)
class Course:
    """A run whose study is made.

    Args:
        plan: how its time was to be spent.
        speed: as measured before the plan.
        sizes: of the data set.
        pipeline: what to do, and with what.
        clock: when it must be done.
        stop: set by signals.
    """

    plan: TimePlan
    speed: Speed
    sizes: Sizes
    pipeline: Pipeline
    clock: Clock
    stop: StopFlag

    def search(self, opened: OpenStudy) -> OpenStudy:
        """Run the trials, and as many more as there is time for."""
        begun, before = time.monotonic(), finished_of(trial_counts(opened))
        while (left := self._search_left(opened)) > 0:
            self._work(opened, left)
            now = trial_counts(opened)
            ended = finished_of(now) - before
            if not self.plan.open_ended or now["waiting"] or now["running"] or not ended:
                break
            each = (time.monotonic() - begun) / ended
            left = self._search_left(opened)
            fitting = int(left / each + 0.5)
            if fitting < 1:
                break
            more = fitting if fitting < 5 else math.ceil(_AT_ONCE * fitting)
            try:
                extend(opened, min(more, 1000))
            except InputError as error:  # a finite space is used up
                logger.info("%s.", error)
                break
            opened = open_study(self.pipeline.storage, opened.name)
            logger.info(
                "%s more, since %s are left for the search.",
                count(more, "trial"),
                duration(max(0.0, left)),
            )
        if best_trial(opened) is None and trial_counts(opened)["waiting"]:
            self._work(opened, math.inf, max_trials=1)  # late as it is: without a trial there is no model
        waiting = trial_counts(opened)["waiting"]
        if waiting:
            logger.warning(
                "The search's time is over; %s left waiting ('gloss-tune worker' runs them).",
                count(waiting, "trial"),
            )
        return opened

    def confirm(self, opened: OpenStudy) -> None:
        """Train the best settings and the customary one again, with as many fresh seeds as there is time for."""
        if not self.plan.top or best_trial(opened) is None:
            return
        now, workers = self._pace(opened), len(self.pipeline.group.devices)
        left = self.clock.left(now.retrain + now.report)
        chosen = next(
            (pair for pair in CONFIRMATIONS if confirming_seconds(*pair, now.again, workers) <= left), None
        )
        if chosen is None:
            logger.warning("There is no time left to confirm the best settings.")
            return
        top, seeds = chosen
        also = [CUSTOMARY_TRIAL] if begins_with_customary(opened) else []
        while True:
            begun, queued = time.monotonic(), confirm(opened, top, seeds, also=also)
            if queued.added:
                logger.info("Confirming: %s.", count(queued.added, "run"))
            self._work(queued.study, self.clock.left(now.report + 0.5 * now.retrain))
            unfinished = trial_counts(queued.study)
            if self.plan.seconds is None or not queued.added or unfinished["waiting"] + unfinished["running"]:
                break
            each = (time.monotonic() - begun) / queued.added
            left = self.clock.left(now.retrain + now.report)
            more = int(left / (each * len(queued.plan.candidates)))
            if more < 1 or seeds >= _MOST_CONFIRMING:
                break
            seeds = min(seeds + more, _MOST_CONFIRMING)
            logger.info("There is time for more seeds: %d.", seeds)
        if trial_counts(queued.study)["waiting"]:
            logger.warning(
                "The time for confirming is over before all its runs: 'gloss-tune confirm --study %s' ends it.",
                opened.name,
            )

    def finish(self, opened: OpenStudy) -> Outcome:
        """The best parameters, the model and the report."""
        output, options = self.pipeline.output, self.pipeline.options
        exported = export(opened, quiet=not opened.spec.rehearse)  # the final training says it
        write(output / BEST, exported)
        model = None if opened.spec.rehearse else output / MODEL
        test = None if model is None else self._model(opened, model)
        if can_report():
            device = self.pipeline.group.devices[0]
            report = ReportOptions(output, options.artifacts, model, options.data_dir, device)
            write_report(opened, report)
        seconds = time.monotonic() - self.pipeline.started
        return Outcome(opened, exported, gain(opened), test, seconds)

    def _model(self, opened: OpenStudy, model: Path) -> dict[str, Any] | None:
        """Train the final model, unless an earlier call has; what it reaches on the test documents."""
        if (model / DESCRIPTION).exists():
            described: dict[str, Any] = json.loads((model / DESCRIPTION).read_text(encoding="utf-8"))
            stored: dict[str, Any] | None = described["test"]
            return stored
        options, now = self.pipeline.options, self._pace(opened)
        sizes = replace(self.sizes, val=self.plan.max_val_docs or self.sizes.val)
        left = self.clock.left(now.report)
        _, docs = final_training(left, now.speed, sizes, opened.spec.most_epochs)
        testing = sizes.test * now.speed.document_seconds
        wanted = RetrainOptions(
            model,
            max_train_docs=docs,
            device=self.pipeline.group.devices[0],
            threads=options.threads,
            data_dir=options.data_dir,
            deadline=self.clock.end - now.report - testing if math.isfinite(self.clock.end) else None,
        )
        test: dict[str, Any] | None = retrain(opened, wanted, self.stop)["test"]
        return test

    def _search_left(self, opened: OpenStudy) -> float:
        """Seconds that are left for the search, if what follows takes what the latest trials foretell."""
        return self.clock.left(self._pace(opened).rest)

    def _pace(self, opened: OpenStudy) -> Pace:
        sizes = replace(self.sizes, val=self.plan.max_val_docs or self.sizes.val)
        return pace(opened, self.plan, self.speed, sizes, len(self.pipeline.group.devices))

    def _work(self, opened: OpenStudy, seconds: float, max_trials: int | None = None) -> None:
        """Have trials begun for so long; those that run then are finished."""
        timeout = max(0.0, seconds) if math.isfinite(seconds) else None
        options = replace(self.pipeline.options, timeout=timeout, max_trials=max_trials)
        finish_study(opened, self.pipeline.storage, options, self.pipeline.group, self.stop)
