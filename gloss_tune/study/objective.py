"""The only bridge between a trial and a fine-tune: draw, run, report, prune, and say how it ended."""

from __future__ import annotations

import errno
import math
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from gloss_tune.errors import GlossTuneError, MachineError, QueuedParamsError, TrialError
from gloss_tune.faults import is_device_lost
from gloss_tune.finetune.config import EpochReport, FinetuneConfig
from gloss_tune.finetune.run import FinetuneRun
from gloss_tune.queue.claims import Claim, delete_reports, finish
from gloss_tune.spec.build import first_trial_faults
from gloss_tune.spec.ranges import Value
from gloss_tune.storage import schema
from gloss_tune.storage.sqlstate import is_storage_error
from gloss_tune.study.distributions import distribution_of
from gloss_tune.study.samplers import DistinctSampler
from gloss_tune.study.study import OpenStudy

# each sees what was drawn before: only workers that draw at the same moment can meet, and hardly so often
_DRAWS = 10

# no space left, or no file to be had: any other trial would meet it here as well
_OF_THE_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
}

MakeRun = Callable[[FinetuneConfig], FinetuneRun]
OnEpoch = Callable[[EpochReport], None]


class Checkpoint(Protocol):
    """Where a trial's run is kept between attempts."""

    def resume(self, make_run: Callable[[], FinetuneRun]) -> tuple[FinetuneRun, list[EpochReport]]:
        """A run that stands where an earlier attempt stood, and the reports of the epochs before."""

    def keep(self, run: FinetuneRun, reports: Sequence[EpochReport], *, last: bool) -> None:
        """Remember where the run stands; ``last`` if the trial ends here, so that only a leaving worker needs it."""


@dataclass(frozen=True)
class Ending:
    """How a trial ended.

    Args:
        state: COMPLETE, PRUNED or FAIL.
        value: the best epoch's metric; None for FAIL.
        reason: why it failed, in one line.
        unexpected: whether the failure is of a kind that no trial should end with.
        infeasible: whether it failed because of its hyperparameters: the sampler learns from it.
        reports: every epoch's report.
    """

    state: TrialState
    value: float | None = None
    reason: str | None = None
    unexpected: bool = False
    infeasible: bool = False
    reports: tuple[EpochReport, ...] = ()


def ask(opened: OpenStudy, claimed: Claim) -> tuple[optuna.Trial, dict[str, Value]]:
    """The claimed trial and its hyperparameters; a trial that was requeued keeps those that it had.

    No configuration comes twice: a draw is written only if no other trial has it, and else drawn anew.

    Raises:
        QueuedParamsError: another tool queued the trial with parameters that are not of the study's space.
    """
    space = {searched.name: distribution_of(searched) for searched in opened.spec.ranges}
    frozen = opened.storage.get_trial(claimed.trial_id)
    check_queued(opened, frozen)
    study = opened.optuna_study(claimed.number)
    if not space.keys() <= frozen.params.keys():
        _draw(opened, claimed, study, frozen, space)
    if frozen.intermediate_values:
        delete_reports(opened.storage, claimed)
    trial = optuna.Trial(study, claimed.trial_id)
    params = trial.params
    return trial, {name: params[name] for name in space}


def check_queued(opened: OpenStudy, trial: FrozenTrial) -> None:
    """Whether a trial can have the parameters that it was queued with: other tools check none.

    Raises:
        QueuedParamsError: it cannot; all faults at once.
    """
    queued = trial.system_attrs.get(schema.FIXED_PARAMS, {})
    if not isinstance(queued, Mapping):
        raise QueuedParamsError(
            f"A trial is queued with a table of parameters, got {queued!r}; queue it again"
        )
    faults = first_trial_faults({**queued, **trial.params}, opened.spec)
    if faults:
        raise QueuedParamsError(
            f"A trial is queued with parameters of the study's space: {'; '.join(faults)}. Queue it again with others"
        )


def refuse(opened: OpenStudy, claimed: Claim, error: TrialError) -> Ending:
    """End a trial that cannot run, with the reason; samplers learn nothing from it.

    Raises:
        LeaseLostError: the trial is no longer ours.
    """
    reason = f"{type(error).__name__}: {error}"
    finish(opened.storage, claimed, TrialState.FAIL, None, {"epochs": 0, "seconds": 0.0, "error": reason})
    return Ending(TrialState.FAIL, reason=reason)


def _draw(
    opened: OpenStudy,
    claimed: Claim,
    study: optuna.Study,
    frozen: FrozenTrial,
    space: Mapping[str, BaseDistribution],
) -> None:
    queued = frozen.system_attrs.get(schema.FIXED_PARAMS, {}).keys()
    for tries_left in reversed(range(_DRAWS)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            params = DistinctSampler.of(study).draw(study, frozen)
        distinct = tries_left > 0 and not space.keys() <= queued
        if opened.storage.set_params(claimed.trial_id, params, space, distinct=distinct):
            return
        study = opened.optuna_study(claimed.number)  # its sampler as it was before this draw


def run_trial(
    opened: OpenStudy,
    trial: optuna.Trial,
    params: dict[str, Value],
    make_run: MakeRun,
    on_epoch: OnEpoch,
    checkpoint: Checkpoint | None = None,
) -> Ending:
    """Run a trial's fine-tune to its end.

    Args:
        make_run: starts the fine-tune.
        on_epoch: called after each epoch is reported.
        checkpoint: where an earlier attempt stood, and where this one is kept.

    Returns:
        How it ended. A non-finite loss, a device without memory or a bug inside the trial is an ending.

    Raises:
        Interrupted: the worker was asked to stop; the trial has not ended.
        RuntimeError: the device is lost, see :func:`gloss_tune.faults.is_device_lost`; the trial has not ended.
        LeaseLostError: the trial is no longer ours.
    """
    reports: list[EpochReport] = []
    try:
        config = opened.spec.config(params)
        if checkpoint is None:
            run = make_run(config)
        else:
            run, earlier_reports = checkpoint.resume(lambda: make_run(config))
            reports.extend(earlier_reports)
        for earlier in reports:
            trial.report(earlier.metrics[opened.spec.metric], step=earlier.epoch)
        pruned = _run_epochs(opened, config, trial, run, reports, on_epoch, checkpoint)
    except TrialError as error:
        reason = f"{type(error).__name__}: {error}"
        return Ending(TrialState.FAIL, reason=reason, infeasible=True, reports=tuple(reports))
    # of the worker, the storage or the study: the trial has not ended
    except GlossTuneError:
        raise
    # a bug or a broken machine: the trial fails with its reason, the worker decides
    except Exception as error:
        if is_device_lost(error) or is_storage_error(error):
            raise  # that is not the trial's failure
        if getattr(error, "errno", None) in _OF_THE_MACHINE:
            raise MachineError(
                f"This machine cannot go on: {error}; fix that and start the worker again"
            ) from error
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
        return Ending(TrialState.FAIL, reason=reason, unexpected=True, reports=tuple(reports))
    assert run.best is not None
    value = run.best.metrics[opened.spec.metric]
    if not math.isfinite(value):
        reason = f"NonFiniteMetricError: {opened.spec.metric} is {value} in the best epoch; choose another --metric"
        return Ending(TrialState.FAIL, reason=reason, infeasible=True, reports=tuple(reports))
    return Ending(TrialState.PRUNED if pruned else TrialState.COMPLETE, value, reports=tuple(reports))


def tell(
    opened: OpenStudy,
    trial: optuna.Trial,
    claimed: Claim,
    ending: Ending,
    seconds: float,
    extra: dict[str, Any],
) -> None:
    """Write how the trial ended, in one transaction: a finished trial is always whole.

    Raises:
        LeaseLostError: the trial is no longer ours; nothing of the result counts.
    """
    attributes: dict[str, Any] = {"epochs": len(ending.reports), "seconds": round(seconds, 3), **extra}
    best = [report for report in ending.reports if report.is_best]
    if best:
        attributes |= {"metrics": best[-1].metrics, "best_epoch": best[-1].epoch}
    if ending.reason is not None:
        attributes["error"] = ending.reason
    value = ending.value
    if ending.state == TrialState.PRUNED:
        # the last reported value, which is what Optuna's samplers expect of a pruned trial
        value = ending.reports[-1].metrics[opened.spec.metric]
    if value is not None and not math.isfinite(value):
        value = None
    frozen = opened.storage.get_trial(claimed.trial_id)
    trial.study.sampler.after_trial(trial.study, frozen, ending.state, None if value is None else [value])
    finish(opened.storage, claimed, ending.state, value, attributes, infeasible=ending.infeasible)


def _run_epochs(
    opened: OpenStudy,
    config: FinetuneConfig,
    trial: optuna.Trial,
    run: FinetuneRun,
    reports: list[EpochReport],
    on_epoch: OnEpoch,
    checkpoint: Checkpoint | None,
) -> bool:
    """Whether the pruner stopped the run."""
    metric = opened.spec.metric
    epochs = run.epochs()
    try:
        for report in epochs:
            reports.append(report)
            trial.report(report.metrics[metric], step=report.epoch)
            on_epoch(report)
            last = _is_last(report, run, config)
            # after the last epoch there is nothing left to save, and the trial is as whole as any
            pruned = not last and _should_prune(opened, trial)
            if checkpoint is not None:
                checkpoint.keep(run, reports, last=last or pruned)
            if pruned:
                return True
    finally:
        close = getattr(epochs, "close", None)
        if close is not None:
            close()
    return False


def _should_prune(opened: OpenStudy, trial: optuna.Trial) -> bool:
    if opened.spec.pruner != "median":  # hyperband also compares with trials that are running
        return trial.should_prune()
    with opened.storage.finished_only():
        return trial.should_prune()


def _is_last(report: EpochReport, run: FinetuneRun, config: FinetuneConfig) -> bool:
    best = run.best
    out_of_patience = best is not None and report.epoch - best.epoch >= config.patience
    return report.epoch >= config.steps or out_of_patience
