"""One trial's way back: where it stood after an epoch, in the artifacts folder, for whoever runs it next."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from gloss_tune.finetune import (
    CheckpointError,
    EpochReport,
    FinetuneRun,
    load_checkpoint,
    save_checkpoint,
)
from gloss_tune.logging import logger
from gloss_tune.study.opened import OpenStudy
from gloss_tune.study.queue import Claim

_FOLDER = "checkpoints"
# a checkpoint is worth writing only where repeating the work would cost more
_SHORTEST_SECONDS = 1.0
_WORK_PER_SAVING = 20.0


class TrialCheckpoint:
    """At most one file per trial and attempt; all are deleted when the trial ends.

    The attempt stands in the file's name, so that a worker which lost its lease cannot overwrite its successor's.

    Args:
        artifacts: folder that all workers of the study reach; a worker that does not starts trials over.
        study: name of the study.
        claimed: the trial.
    """

    def __init__(self, artifacts: Path, study: str, claimed: Claim) -> None:
        self._folder = artifacts / _FOLDER / study
        self._number = claimed.number
        self._attempt = claimed.attempt
        self._since = time.monotonic()
        self._cost = 0.0

    def resume(self, make_run: Callable[[], FinetuneRun]) -> tuple[FinetuneRun, list[EpochReport]]:
        """A run that stands where an earlier attempt stood, or a fresh one where there is no whole checkpoint.

        Args:
            make_run: a fresh run; called again if a checkpoint turned out not to fit after it was half loaded.

        Returns:
            The run, and the reports of the epochs that need not be repeated.
        """
        for path in self._files():
            run = make_run()
            try:
                state = load_checkpoint(path)
                run.load_state_dict(state["run"])
                reports = [EpochReport(**report) for report in state["reports"]]
            # a checkpoint of another release can fail to fit in any way
            except (CheckpointError, ValueError, KeyError, TypeError, RuntimeError) as error:
                logger.warning("Trial %d: its checkpoint does not fit (%s).", self._number, error)
                continue
            logger.info("Trial %d goes on after epoch %d.", self._number, reports[-1].epoch)
            return run, reports
        return make_run(), []

    def keep(self, run: FinetuneRun, reports: Sequence[EpochReport]) -> None:
        """Write where ``run`` stands, if enough work was done since the last time."""
        start = time.monotonic()
        if start - self._since < max(_SHORTEST_SECONDS, _WORK_PER_SAVING * self._cost):
            return
        older = self._files()
        path = self._folder / f"trial-{self._number}.attempt-{self._attempt}.ckpt"
        try:
            save_checkpoint(
                path, {"run": run.state_dict(), "reports": [asdict(report) for report in reports]}
            )
        except OSError as error:
            logger.warning(
                "Trial %d: no checkpoint could be written (%s); going on without.", self._number, error
            )
        else:
            for superseded in older:  # never a later attempt's: this worker may have lost its lease meanwhile
                if _attempt(superseded) < self._attempt:
                    superseded.unlink(missing_ok=True)
        self._since = time.monotonic()
        self._cost = self._since - start

    def delete(self) -> None:
        """Remove what is left of the trial's checkpoints."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        """This trial's checkpoints, the latest attempt first."""
        found = self._folder.glob(f"trial-{self._number}.attempt-*.ckpt")
        return sorted(found, key=_attempt, reverse=True)


def delete_left_overs(artifacts: Path, opened: OpenStudy) -> None:
    """Remove the checkpoints of trials that have ended, such as one that was given up after its worker was lost."""
    folder = artifacts / _FOLDER / opened.name
    if not folder.is_dir():
        return
    trials = opened.optuna_study().get_trials(deepcopy=False)
    for trial in trials:
        if trial.state.is_finished():
            for path in folder.glob(f"trial-{trial.number}.attempt-*.ckpt"):
                path.unlink(missing_ok=True)


def _attempt(path: Path) -> int:
    return int(path.stem.rsplit("-", 1)[-1])
