"""A trial in TensorBoard: a folder of event files, with hyperparameters for the HParams tab."""

from __future__ import annotations

import math
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from gloss_tune.finetune.config import EpochReport
from gloss_tune.workers.tracking import TrackedTrial


def start(trial: TrackedTrial, epoch: int) -> TensorBoardRun:
    """Begin a trial's run, or go on with it at an epoch: later points of an attempt that was lost are hidden."""
    return TensorBoardRun(trial, epoch)


class TensorBoardRun:
    """See :class:`gloss_tune.workers.tracking.Tracker`."""

    def __init__(self, trial: TrackedTrial, epoch: int) -> None:
        folder = trial.folder / "tensorboard" / trial.files / trial.name
        self._params = dict(trial.params)
        self._writer = SummaryWriter(str(folder), purge_step=epoch)

    def report(self, report: EpochReport) -> None:
        """One point a metric."""
        for name, value in report.metrics.items():
            self._writer.add_scalar(name, value, report.epoch)
        self._writer.flush()

    def end(self, state: str, value: float | None) -> None:
        """Hyperparameters beside the value, as ``add_hparams`` writes them, but into this run and not into another."""
        known = value is not None and math.isfinite(value)
        metrics = {"value": value} if known else {}
        file: Any = self._writer.file_writer
        for summary in hparams({**self._params, "state": state}, metrics):  # type: ignore[no-untyped-call]
            file.add_summary(summary)
        if known:
            self._writer.add_scalar("value", value)

    def close(self) -> None:
        """Write everything out."""
        self._writer.close()
