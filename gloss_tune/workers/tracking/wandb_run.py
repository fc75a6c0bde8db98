"""A trial in Weights & Biases: a run of the study's group, online or as ``WANDB_MODE`` says."""

from __future__ import annotations

import math

import wandb

from gloss_tune.finetune.config import EpochReport
from gloss_tune.workers.tracking import TrackedTrial


def start(trial: TrackedTrial, epoch: int) -> WandbRun:
    """Begin a trial's run, or go on with the one that an earlier attempt began."""
    return WandbRun(trial)


class WandbRun:
    """See :class:`gloss_tune.workers.tracking.Tracker`."""

    def __init__(self, trial: TrackedTrial) -> None:
        trial.folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project="gloss-tune",
            group=trial.study,
            name=trial.name,
            id=f"{trial.files}-{trial.number}".replace(".", "-")[-120:],
            resume="allow",
            config=dict(trial.params),
            dir=str(trial.folder),
            reinit="create_new",
            settings=wandb.Settings(silent=True),
        )

    def report(self, report: EpochReport) -> None:
        """One point a metric; points of epochs that were written before are dropped by W&B itself."""
        finite = {name: value for name, value in report.metrics.items() if math.isfinite(value)}
        self._run.log(finite, step=report.epoch)

    def end(self, state: str, value: float | None) -> None:
        """State and value, where W&B shows them beside the run."""
        self._run.summary["state"] = state
        if value is not None and math.isfinite(value):
            self._run.summary["value"] = value

    def close(self) -> None:
        """Upload what is left."""
        self._run.finish()
