"""Experiment trackers, for those who have one: TensorBoard, MLflow, Weights & Biases. Never required.

Each trial is a run of its own with its hyperparameters, every epoch's metrics, and how it ended. What a tracker does
happens between epochs, and its trouble costs the tracker and never the trial. A trial that is resumed goes on in the
same run. None of this decides anything: the study's storage does.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from gloss_tune.errors import InputError
from gloss_tune.finetune.config import EpochReport
from gloss_tune.logging import logger

#: Name → the package that it needs; the extra of gloss-tune is called as the tracker.
TRACKERS = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
FOLDER = "tracking"


@dataclass(frozen=True)
class TrackedTrial:
    """What a tracker is told of a trial.

    Args:
        study: its study's name.
        files: what the study's files are called, which is unlike those of any other study.
        number: of the trial.
        params: all its hyperparameters, searched and fixed, and what else describes it.
        folder: where a tracker that writes files does so.
    """

    study: str
    files: str
    number: int
    params: Mapping[str, float | int | str]
    folder: Path

    @property
    def name(self) -> str:
        """Such as ``trial-0007``: in the order of the numbers wherever names are sorted."""
        return f"trial-{self.number:04d}"


class Tracker(Protocol):
    """A run of one trial in a tracker; any method may raise."""

    def report(self, report: EpochReport) -> None:
        """Write one epoch's metrics."""

    def end(self, state: str, value: float | None) -> None:
        """Write how the trial ended: ``complete``, ``pruned`` or ``fail``, and its value."""

    def close(self) -> None:
        """Let go of the run, which is finished, or will be resumed by this or another worker."""


def named_trackers(names: Sequence[str]) -> tuple[str, ...]:
    """The trackers that were asked for, each once; whether their packages are installed is not asked.

    Args:
        names: each may hold several with commas between.

    Raises:
        InputError: one is unknown.
    """
    found = tuple(dict.fromkeys(part.strip() for name in names for part in name.split(",") if part.strip()))
    for name in found:
        if name not in TRACKERS:
            raise InputError(
                f"--track must be one of {', '.join(TRACKERS)}, got {name!r}; choose one of these"
            )
    return found


def check_trackers(names: Sequence[str]) -> tuple[str, ...]:
    """:func:`named_trackers`, which this process can use.

    Raises:
        InputError: one is unknown, or its package is not installed.
    """
    found = named_trackers(names)
    for name in found:
        if find_spec(TRACKERS[name]) is None:
            raise InputError(
                f"--track {name} needs the package {TRACKERS[name]}, which is not installed; run: "
                f"pip install 'gloss-tune[{name}]'"
            )
    return found


@dataclass
class TrialTracking:
    """All trackers of one trial.

    Args:
        names: of the trackers.
        trial: what they are told.
    """

    names: Sequence[str]
    trial: TrackedTrial
    _open: dict[str, Tracker] = field(default_factory=dict)
    _given_up: set[str] = field(default_factory=set)

    def report(self, report: EpochReport) -> None:
        """Write one epoch's metrics everywhere."""
        self._each(report.epoch, lambda tracker: tracker.report(report))

    def end(self, state: str, value: float | None) -> None:
        """Write how the trial ended everywhere."""
        self._each(1, lambda tracker: tracker.end(state, value))

    def close(self) -> None:
        """Let go of all runs."""
        for name, tracker in self._open.items():
            try:
                tracker.close()
            except Exception as error:  # another package's trouble must not cost the trial
                self._give_up(name, error)
        self._open.clear()

    def _each(self, epoch: int, act: Any) -> None:
        for name in self.names:
            if name in self._given_up:
                continue
            try:
                if name not in self._open:
                    # at the first report, since only then is it known where a resumed trial goes on
                    module = importlib.import_module(f"gloss_tune.workers.tracking.{name}_run")
                    self._open[name] = module.start(self.trial, epoch)
                act(self._open[name])
            except Exception as error:  # another package's trouble must not cost the trial
                self._give_up(name, error)

    def _give_up(self, name: str, error: Exception) -> None:
        self._given_up.add(name)
        logger.warning(
            "Trial %d: %s is left out from here on (%s: %s).",
            self.trial.number,
            name,
            type(error).__name__,
            error,
        )
