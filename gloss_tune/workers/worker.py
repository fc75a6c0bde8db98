"""One worker: claim a trial, run it, tell its result, until the study's budget is used up."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import optuna
from optuna.trial import TrialState

from gloss_tune.errors import GlossTuneError
from gloss_tune.finetune.config import EpochReport, FinetuneConfig
from gloss_tune.finetune.protocol import FinetuneRun
from gloss_tune.finetune.rehearsal import Rehearsal
from gloss_tune.logging import logger
from gloss_tune.study.objective import Ending, Interrupted, ask, run_trial, tell
from gloss_tune.study.opened import OpenStudy
from gloss_tune.study.queue import Claim, claim, counts, give_back
from gloss_tune.study.roster import WorkerEntry
from gloss_tune.study.storage import LeaseLostError
from gloss_tune.workers.artifacts import upload_epochs
from gloss_tune.workers.checkpoints import TrialCheckpoint, delete_left_overs
from gloss_tune.workers.lease import LeaseKeeper
from gloss_tune.workers.real import RealRuns
from gloss_tune.workers.signals import StopFlag

_SHORTEST_WAIT = 0.2
_LONGEST_WAIT = 2.0
_UNEXPECTED_IN_A_ROW = 3

Runs = Callable[[FinetuneConfig, Callable[[], None]], FinetuneRun]


@dataclass(frozen=True)
class WorkerOptions:
    """How one worker works; nothing here changes what a study is.

    Args:
        max_trials: leave after this many trials, None for no limit.
        timeout: claim no trial after this many seconds; one that runs is finished.
        device: ``auto``, ``cpu``, ``cuda:0`` …
        threads: CPU threads of torch, None to share the cores with the study's other workers on this machine.
        data_dir: folder of ``NAME/{train,val,test}.csv``.
        artifacts: folder for what a trial leaves beside its numbers.
    """

    max_trials: int | None = None
    timeout: float | None = None
    device: str = "auto"
    threads: int | None = None
    data_dir: Path | None = None
    artifacts: Path = Path("gloss-tune-artifacts")


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
        GlossTuneError: after three unexpected failures in a row.
    """
    worker = _Worker(opened, options, stop)
    return worker.work(on_trial or (lambda: None))


class _Worker:
    def __init__(self, opened: OpenStudy, options: WorkerOptions, stop: StopFlag) -> None:
        self._opened = opened
        self._options = options
        self._stop = stop
        self._deadline = None if options.timeout is None else time.monotonic() + options.timeout
        self._real = (
            None
            if opened.spec.rehearse
            else RealRuns(opened, options.device, options.threads, options.data_dir)
        )
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        device = "rehearsal" if self._real is None else options.device
        self._entry = WorkerEntry(self.id, socket.gethostname(), os.getpid(), device)

    def work(self, on_trial: Callable[[], None]) -> int:
        finished = unexpected = 0
        with LeaseKeeper(self._opened, self._entry) as keeper:
            while not self._time_to_leave(finished):
                claimed = claim(self._opened.storage, self._opened.study_id, self.id)
                if claimed is None:
                    if not self._others_are_running(keeper):
                        break
                    continue
                ending = self._run(claimed, keeper)
                if ending is None:
                    continue
                finished += 1
                unexpected = unexpected + 1 if ending.unexpected else 0
                on_trial()
                if unexpected == _UNEXPECTED_IN_A_ROW:
                    raise GlossTuneError(
                        f"{unexpected} trials in a row failed in an unexpected way, the last one with: "
                        f"{ending.reason}. The worker stops; waiting trials are untouched. See the traceback above"
                    )
        delete_left_overs(self._options.artifacts, self._opened)
        return finished

    def _time_to_leave(self, finished: int) -> bool:
        if self._stop.signum is not None:
            return True
        if self._options.max_trials is not None and finished >= self._options.max_trials:
            return True
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _others_are_running(self, keeper: LeaseKeeper) -> bool:
        """Wait a little while others run, since one may die and leave its trial; False if none does."""
        now = counts(self._opened.storage, self._opened.study_id)
        if not now[TrialState.RUNNING] and not now[TrialState.WAITING]:
            return False
        keeper.reap()
        end = time.monotonic() + min(max(self._opened.spec.lease / 10, _SHORTEST_WAIT), _LONGEST_WAIT)
        while time.monotonic() < end and self._stop.signum is None:
            time.sleep(0.05)
        return True

    def _run(self, claimed: Claim, keeper: LeaseKeeper) -> Ending | None:
        """One trial; None if it did not end here (interrupted, or lost to another worker)."""
        again = "" if claimed.attempt == 1 else f" (attempt {claimed.attempt})"
        try:
            runs, device, extra = self._prepare(keeper)
            keeper.watch(claimed, device)
            checkpoint = TrialCheckpoint(self._options.artifacts, self._opened.name, claimed)
            started = time.monotonic()
            trial, params = ask(self._opened, claimed)
            logger.info("Trial %d%s: %s", claimed.number, again, _shown(params))
            ending = run_trial(
                self._opened,
                trial,
                params,
                lambda config: self._start(runs, config, claimed, keeper),
                partial(self._report, claimed, keeper),
                checkpoint,
            )
            if self._real is not None and ending.reports:
                self._upload(trial, ending)
            tell(self._opened, trial, claimed, ending, time.monotonic() - started, extra)
            checkpoint.delete()
        except LeaseLostError:
            logger.warning("Trial %d%s: the lease was lost; its result is dropped.", claimed.number, again)
            return None
        except Interrupted:
            logger.info("Trial %d%s: interrupted; requeued.", claimed.number, again)
            return None
        finally:
            # a trial that was told is finished, and then this changes nothing
            give_back(self._opened.storage, claimed)
            keeper.watch(None, self._entry.device)
        logger.info("Trial %d%s: %s", claimed.number, again, _ended(ending, self._opened.spec.metric))
        return ending

    def _prepare(self, keeper: LeaseKeeper) -> tuple[Runs, str, dict[str, object]]:
        if self._real is None:
            return partial(_rehearse, self._opened.spec.rehearse_seconds), "rehearsal", {}
        self._real.look_at_load(keeper.workers_here)
        threads = self._real.share_cores(keeper.workers_here)
        return self._real.run, self._real.device, {"device": self._real.device, "threads": threads}

    def _start(self, runs: Runs, config: FinetuneConfig, claimed: Claim, keeper: LeaseKeeper) -> FinetuneRun:
        run = runs(config, partial(self._check, claimed, keeper))
        if self._real is not None:  # loading took seconds, in which a neighbour may have come
            keeper.look_around()
            self._real.share_cores(keeper.workers_here)
        return run

    def _upload(self, trial: optuna.Trial, ending: Ending) -> None:
        try:
            upload_epochs(trial, ending.reports, self._options.artifacts)
        except OSError as error:  # a full disk must not cost the trial's result
            logger.warning("Trial %d: its learning curve could not be kept (%s).", trial.number, error)

    def _check(self, claimed: Claim, keeper: LeaseKeeper) -> None:
        """Between two steps: is there a reason to drop the trial, have other workers come or gone?"""
        if self._stop.signum is not None:
            raise Interrupted(f"signal {self._stop.signum}")
        if keeper.lost:
            raise LeaseLostError(f"The lease on trial {claimed.number} was lost")
        if self._real is not None:
            self._real.share_cores(keeper.workers_here)

    def _report(self, claimed: Claim, keeper: LeaseKeeper, report: EpochReport) -> None:
        keeper.finished_epoch(report.epoch)
        metric = self._opened.spec.metric
        speed = report.metrics["train_docs_per_second"]
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
    return f"{verb}, best {metric} {ending.value:.4f} after {len(ending.reports)} epochs"
