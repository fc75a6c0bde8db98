"""One attempt at a trial: from its claim to its last word, or to where it has to be given back."""

from __future__ import annotations

import time
from functools import partial

from optuna.trial import TrialState

from gloss_tune.errors import Interrupted, LeaseLostError, QueuedParamsError
from gloss_tune.finetune.config import EpochReport, FinetuneConfig
from gloss_tune.finetune.run import FinetuneRun
from gloss_tune.logging import logger
from gloss_tune.queue.claims import Claim, release
from gloss_tune.spec.ranges import Value
from gloss_tune.spec.spec import StudySpec
from gloss_tune.study.objective import Ending, ask, refuse, run_trial, tell
from gloss_tune.study.results import hyperparameters
from gloss_tune.study.study import OpenStudy
from gloss_tune.wording import count, settings
from gloss_tune.workers.artifacts.checkpoints import SavingCost, TrialCheckpoint
from gloss_tune.workers.artifacts.models import delete_model
from gloss_tune.workers.artifacts.tidy import tidy
from gloss_tune.workers.lease import LeaseKeeper
from gloss_tune.workers.notice import Notice
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.runs import Runs
from gloss_tune.workers.shutdown import Shutdown
from gloss_tune.workers.tracking import FOLDER, TrackedTrial, TrialTracking


class Attempts:
    """Runs one worker's trials, one after the other.

    Args:
        opened: the study.
        options: how the worker works.
        runs: what trials are run with.
        shutdown: says when to break off for a signal.
        notice: says when to hand a trial back after an epoch.
        keeper: keeps the lease.
    """

    def __init__(
        self,
        opened: OpenStudy,
        options: WorkerOptions,
        runs: Runs,
        shutdown: Shutdown,
        notice: Notice,
        keeper: LeaseKeeper,
    ) -> None:
        self._opened = opened
        self._options = options
        self._runs = runs
        self._shutdown = shutdown
        self._notice = notice
        self._keeper = keeper
        self._saving = SavingCost()

    def run(self, claimed: Claim) -> Ending | None:
        """One trial; None if it did not end here (interrupted, or lost to another worker)."""
        again = "" if claimed.attempt == 1 else f" (attempt {claimed.attempt})"
        tracking: TrialTracking | None = None
        told = False
        try:
            self._keeper.watch(claimed)
            self._runs.trial_begins(self._keeper.workers_here)
            checkpoint = TrialCheckpoint(
                self._options.artifacts,
                self._opened.files,
                claimed,
                urgent=lambda: self._shutdown.requested or self._notice.after_epoch,
                cost=self._saving,
            )
            self._shutdown.trial_begins()
            self._notice.trial_begins()
            started = time.monotonic()
            try:
                trial, params = ask(self._opened, claimed)
            except QueuedParamsError as error:
                ending = refuse(self._opened, claimed, error)
                told = True
                logger.warning("Trial %d%s: failed: %s", claimed.number, again, ending.reason)
                return ending
            logger.info("Trial %d%s: %s", claimed.number, again, settings(params) or "no searched parameters")
            tracking = self._tracking(claimed, params)
            ending = run_trial(
                self._opened,
                trial,
                params,
                partial(self._start, claimed),
                partial(self._report, claimed, tracking),
                checkpoint,
            )
            self._runs.leave_artifacts(trial, claimed, ending)
            tell(self._opened, trial, claimed, ending, time.monotonic() - started, self._runs.facts())
            told = True
            checkpoint.delete()
            tracking.end(ending.state.name.lower(), ending.value)
        except LeaseLostError:
            logger.warning("Trial %d%s: the lease was lost; its result is dropped.", claimed.number, again)
            delete_model(self._opened, self._options.artifacts, claimed)
            return None
        except Interrupted as error:
            logger.info("Trial %d%s: %s; requeued.", claimed.number, again, error)
            return None
        finally:
            if tracking is not None:
                tracking.close()
            if not told:
                release(self._opened.storage, claimed)
            self._opened.storage.forget_claim(claimed.trial_id)
            self._keeper.watch(None)
            tidy(self._options.artifacts, self._opened)
        logger.info("Trial %d%s: %s", claimed.number, again, _ended(ending, self._opened.spec))
        return ending

    def _start(self, claimed: Claim, config: FinetuneConfig) -> FinetuneRun:
        run = self._runs.run(config, partial(self._check, claimed), self._keeper.count_workers_here)
        self._keeper.describe(self._runs.facts())
        return run

    def _check(self, claimed: Claim) -> None:
        """Between two steps: is there a reason to drop the trial, have other workers come or gone?"""
        if self._shutdown.breaks_off(claimed.number):
            raise Interrupted("interrupted")
        if (reason := self._notice.breaks_off()) is not None:
            raise Interrupted(reason)
        if self._keeper.lost:
            raise LeaseLostError(f"The lease on trial {claimed.number} was lost")
        self._runs.share_cores(self._keeper.workers_here)

    def _tracking(self, claimed: Claim, params: dict[str, Value]) -> TrialTracking:
        opened, options = self._opened, self._options
        told: dict[str, Value] = {
            "loss": opened.spec.loss,
            "dataset": str(opened.dataset["name"]),
            "model": opened.spec.model,
        }
        told |= hyperparameters(opened.spec, params)
        trial = TrackedTrial(opened.name, opened.files, claimed.number, told, options.artifacts / FOLDER)
        return TrialTracking(options.track, trial)

    def _report(self, claimed: Claim, tracking: TrialTracking, report: EpochReport) -> None:
        self._shutdown.epoch_ended()
        self._notice.epoch_ended()
        tracking.report(report)
        speed = self._runs.speed(report)
        self._keeper.finished_epoch(report.epoch, round(speed, 1))
        if speed:  # a rehearsal's epochs are as quick as lines are written
            metric = self._opened.spec.metric
            logger.info(
                "Trial %d: %s %d, %s %.4f%s, %.0f documents/s",
                claimed.number,
                self._opened.spec.step_name,
                report.epoch,
                metric,
                report.metrics[metric],
                ", best so far" if report.is_best else "",
                speed,
            )


def _ended(ending: Ending, spec: StudySpec) -> str:
    if ending.state == TrialState.FAIL:
        return f"failed: {ending.reason}"
    verb = "pruned" if ending.state == TrialState.PRUNED else "complete"
    return f"{verb}, best {spec.metric} {ending.value:.4f} after {count(len(ending.reports), spec.step_name)}"
