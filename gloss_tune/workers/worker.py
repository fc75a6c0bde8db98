"""One worker: claim a trial, run it, tell its result, until the study's budget is used up."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from functools import partial

import optuna
from optuna.trial import TrialState

from gloss_tune.errors import GlossTuneError, Interrupted, LeaseLostError, StorageLostError, StudyStoppedError
from gloss_tune.finetune.config import EpochReport, FinetuneConfig
from gloss_tune.finetune.rehearsal import Rehearsal
from gloss_tune.finetune.run import FinetuneRun
from gloss_tune.logging import logger
from gloss_tune.processes import this_process
from gloss_tune.queue.budget import counts
from gloss_tune.queue.claims import Claim, claim, release
from gloss_tune.queue.heartbeats import WorkerEntry, unregister_worker
from gloss_tune.signals import StopFlag
from gloss_tune.spec.space import Value
from gloss_tune.study.objective import Ending, ask, run_trial, tell
from gloss_tune.study.results import hyperparameters
from gloss_tune.study.status import stop_reason
from gloss_tune.study.study import OpenStudy
from gloss_tune.wording import count
from gloss_tune.workers.artifacts.checkpoints import SavingCost, TrialCheckpoint
from gloss_tune.workers.artifacts.models import delete_model, keep_model
from gloss_tune.workers.artifacts.store import leave_marker, upload_confusion, upload_epochs
from gloss_tune.workers.artifacts.tidy import tidy
from gloss_tune.workers.lease import LeaseKeeper
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.runs import RealRuns
from gloss_tune.workers.shutdown import Shutdown
from gloss_tune.workers.tracking import FOLDER, TrackedTrial, TrialTracking

_SHORTEST_WAIT = 0.2
_LONGEST_WAIT = 2.0
_UNEXPECTED_IN_A_ROW = 3
# a server that is restarted, moved or repaired is back by then
_PATIENCE_SECONDS = 900.0

Runs = Callable[[FinetuneConfig, Callable[[], None]], FinetuneRun]


def work(
    opened: OpenStudy, options: WorkerOptions, stop: StopFlag, on_trial: Callable[[], None] | None = None
) -> int:
    """Run trials until none is left, a limit is reached, or a signal arrives.

    Args:
        on_trial: called after each trial, for progress.

    Returns:
        How many trials this worker finished.

    Raises:
        InputError: if this machine's data set or encoder is not the study's.
        StudyStoppedError: if too many trials of the study have failed.
        StorageLostError: if the storage stayed away for a quarter of an hour.
        GlossTuneError: after three unexpected failures in a row.
    """
    worker = _Worker(opened, options, stop)
    opened.storage.claimed_only = True
    try:
        return worker.work(on_trial or (lambda: None))
    finally:
        opened.storage.claimed_only = False


class _Worker:
    def __init__(self, opened: OpenStudy, options: WorkerOptions, stop: StopFlag) -> None:
        self._opened = opened
        self._options = options
        self._shutdown = Shutdown(stop, options.grace, self._requeue_now)
        self._deadline = None if options.timeout is None else time.monotonic() + options.timeout
        self._real = (
            None
            if opened.spec.rehearse
            else RealRuns(opened, options.device, options.threads, options.data_dir)
        )
        me = this_process()
        self.id = f"{me.host}-{me.pid}-{secrets.token_hex(2)}"
        self._device = "rehearsal" if self._real is None else self._real.device
        self._entry = WorkerEntry(self.id, me.host, me.pid, self._device, machine=me.machine)
        self._keeper = LeaseKeeper(opened, self._entry)
        self._waits = False
        self._saving = SavingCost()
        opened.storage.retry_for(
            _PATIENCE_SECONDS, lambda: self._shutdown.must_leave, lease=opened.spec.lease
        )

    def work(self, on_trial: Callable[[], None]) -> int:
        finished = unexpected = 0
        try:
            with self._shutdown, self._keeper:
                leave_marker(self._options.artifacts, self._opened.name)
                tidy(self._options.artifacts, self._opened)
                while not self._time_to_leave(finished):
                    claimed = self._claim()
                    if claimed is None:
                        if not self._others_are_running():
                            break
                        continue
                    ending = self._run(claimed)
                    if ending is None:
                        continue
                    finished += 1
                    unexpected = unexpected + 1 if ending.unexpected else 0
                    on_trial()
                    if unexpected == _UNEXPECTED_IN_A_ROW:
                        raise GlossTuneError(
                            f"{unexpected} trials in a row failed in an unexpected way, the last one with: "
                            f"{ending.reason}. The worker stops; waiting trials are untouched. "
                            "See the traceback above"
                        )
                tidy(self._options.artifacts, self._opened)
        except StorageLostError as error:
            if not self._shutdown.requested:
                raise
            logger.warning("%s", error)
        return finished

    def _claim(self) -> Claim | None:
        storage, study_id = self._opened.storage, self._opened.study_id
        self._opened.check_still_there()
        reason = stop_reason(self._opened)
        if reason is not None:
            raise StudyStoppedError(f"Study {self._opened.name!r} is stopped: {reason}")
        return claim(storage, study_id, self.id)

    def _requeue_now(self) -> None:
        """From the shutdown's thread, when this one does not leave in time."""
        claimed = self._keeper.claimed
        if claimed is not None:
            release(self._opened.storage, claimed)
        unregister_worker(self._opened.storage, self._opened.study_id, self.id)

    def _time_to_leave(self, finished: int) -> bool:
        if self._shutdown.requested:
            return True
        if self._options.max_trials is not None and finished >= self._options.max_trials:
            return True
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _others_are_running(self) -> bool:
        """Wait a little while others run, since one may be lost and leave its trial; False if none does."""
        now = counts(self._opened.storage, self._opened.study_id)
        if not now[TrialState.RUNNING] and not now[TrialState.WAITING]:
            return False
        if not self._waits:
            self._waits = True
            logger.info(
                "%d trial%s still running elsewhere; staying in case one is lost.",
                now[TrialState.RUNNING],
                " is" if now[TrialState.RUNNING] == 1 else "s are",
            )
        end = time.monotonic() + min(max(self._opened.spec.lease / 10, _SHORTEST_WAIT), _LONGEST_WAIT)
        while time.monotonic() < end and not self._shutdown.requested:
            time.sleep(0.05)
        return True

    def _run(self, claimed: Claim) -> Ending | None:
        """One trial; None if it did not end here (interrupted, or lost to another worker)."""
        again = "" if claimed.attempt == 1 else f" (attempt {claimed.attempt})"
        tracking: TrialTracking | None = None
        told = False
        try:
            self._keeper.watch(claimed, self._device)
            runs, extra = self._prepare()
            checkpoint = TrialCheckpoint(
                self._options.artifacts,
                self._opened.files,
                claimed,
                urgent=lambda: self._shutdown.requested,
                cost=self._saving,
            )
            self._shutdown.trial_begins()
            started = time.monotonic()
            trial, params = ask(self._opened, claimed)
            logger.info("Trial %d%s: %s", claimed.number, again, _shown(params))
            tracking = self._tracking(claimed, params)
            ending = run_trial(
                self._opened,
                trial,
                params,
                lambda config: self._start(runs, config, claimed),
                partial(self._report, claimed, tracking),
                checkpoint,
            )
            if self._real is not None and ending.reports:
                self._upload(trial, ending)
                self._keep_model(claimed, ending)
            tell(self._opened, trial, claimed, ending, time.monotonic() - started, extra)
            told = True
            checkpoint.delete()
            tracking.end(ending.state.name.lower(), ending.value)
        except LeaseLostError:
            logger.warning("Trial %d%s: the lease was lost; its result is dropped.", claimed.number, again)
            delete_model(self._opened, self._options.artifacts, claimed)
            return None
        except Interrupted:
            logger.info("Trial %d%s: interrupted; requeued.", claimed.number, again)
            return None
        finally:
            if tracking is not None:
                tracking.close()
            if not told:
                release(self._opened.storage, claimed)
            self._opened.storage.forget_claim(claimed.trial_id)
            self._keeper.watch(None, self._device)
            tidy(self._options.artifacts, self._opened)
        logger.info("Trial %d%s: %s", claimed.number, again, _ended(ending, self._opened.spec.metric))
        return ending

    def _prepare(self) -> tuple[Runs, dict[str, object]]:
        if self._real is None:
            return partial(_rehearse, self._opened.spec.rehearse_seconds), {}
        threads = self._share_cores()
        return self._real.run, {"device": self._device, "threads": threads}

    def _start(self, runs: Runs, config: FinetuneConfig, claimed: Claim) -> FinetuneRun:
        run = runs(config, partial(self._check, claimed))
        if self._real is not None:  # loading took seconds, in which a neighbour may have come
            self._keeper.count_workers_here()
            self._share_cores()
        return run

    def _share_cores(self) -> int:
        assert self._real is not None
        return self._real.share_cores(self._keeper.workers_here, self._keeper.neighbours)

    def _upload(self, trial: optuna.Trial, ending: Ending) -> None:
        assert self._real is not None
        try:
            upload_epochs(trial, ending.reports, self._options.artifacts)
            confusion = self._real.val_confusion()
            if confusion is not None and ending.state == TrialState.COMPLETE:
                upload_confusion(trial, self._real.classes, confusion, self._options.artifacts)
        except OSError as error:  # a full disk must not cost the trial's result
            logger.warning(
                "Trial %d: its learning curve or confusion matrix could not be kept (%s).",
                trial.number,
                error,
            )

    def _keep_model(self, claimed: Claim, ending: Ending) -> None:
        assert self._real is not None
        if self._real.latest is not None:
            artifacts = self._options.artifacts
            keep_model(self._opened, artifacts, claimed, self._real.latest, ending, self._real.classes)

    def _check(self, claimed: Claim) -> None:
        """Between two steps: is there a reason to drop the trial, have other workers come or gone?"""
        if self._shutdown.breaks_off(claimed.number):
            raise Interrupted(f"Trial {claimed.number} was interrupted by a signal")
        if self._keeper.lost:
            raise LeaseLostError(f"The lease on trial {claimed.number} was lost")
        if self._real is not None:
            self._share_cores()

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
        tracking.report(report)
        metric = self._opened.spec.metric
        speed = 0.0 if self._real is None else report.metrics["train_docs_per_second"]
        self._keeper.finished_epoch(report.epoch, round(speed, 1))
        mark = ", best so far" if report.is_best else ""
        if self._real is not None:
            logger.info(
                "Trial %d: epoch %d, %s %.4f%s, %.0f documents/s",
                claimed.number,
                report.epoch,
                metric,
                report.metrics[metric],
                mark,
                speed,
            )


def _rehearse(seconds: float, config: FinetuneConfig, on_step: Callable[[], None]) -> FinetuneRun:
    return Rehearsal(config, seconds=seconds, on_step=on_step)


def _shown(params: dict[str, float | int | str]) -> str:
    parts = (f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in params.items())
    return ", ".join(parts) or "no searched parameters"


def _ended(ending: Ending, metric: str) -> str:
    if ending.state == TrialState.FAIL:
        return f"failed: {ending.reason}"
    verb = "pruned" if ending.state == TrialState.PRUNED else "complete"
    return f"{verb}, best {metric} {ending.value:.4f} after {count(len(ending.reports), 'epoch')}"
