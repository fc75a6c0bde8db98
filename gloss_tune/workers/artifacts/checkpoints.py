"""One trial's way back: where it stood after an epoch, in the artifacts folder, for whoever runs it next."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gloss_tune.finetune import (
    CheckpointError,
    EpochReport,
    FinetuneRun,
    load_checkpoint,
    save_checkpoint,
)
from gloss_tune.logging import logger
from gloss_tune.queue.claims import Claim
from gloss_tune.storage.trial_states import standings
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.artifacts.trial_files import CHECKPOINTS, TrialFile, remove, trial_files

# a checkpoint is worth writing only where repeating the work would cost more
_SHORTEST_SECONDS = 1.0
_WORK_PER_SAVING = 20.0


@dataclass
class SavingCost:
    """What writing a checkpoint takes.

    Args:
        seconds: of the last one; 0 before the first.
        failure: why the last one could not be written; empty where it could, or before the first.
    """

    seconds: float = 0.0
    failure: str = ""


class TrialCheckpoint:
    """At most one file per trial, which is deleted when the trial ends.

    The attempt stands in the file's name, so that a worker which lost its lease cannot overwrite its successor's.
    A folder that cannot be written costs the way back, never the trial.

    Args:
        artifacts: folder that all workers of the study reach; a worker that does not starts trials over.
        study: what the study's files are called.
        claimed: the trial.
        urgent: whether the worker is about to leave, so that the next epoch's state is worth any cost.
        cost: known from the worker's trials before, and corrected here.
    """

    def __init__(
        self,
        artifacts: Path,
        study: str,
        claimed: Claim,
        urgent: Callable[[], bool] = lambda: False,
        cost: SavingCost | None = None,
    ) -> None:
        self._folder = artifacts / CHECKPOINTS / study
        self._number = claimed.number
        self._attempt = claimed.attempt
        self._urgent = urgent
        self._since = time.monotonic()
        self._cost = cost or SavingCost()

    def resume(self, make_run: Callable[[], FinetuneRun]) -> tuple[FinetuneRun, list[EpochReport]]:
        """A run that stands where an earlier attempt stood, or a fresh one where there is no whole checkpoint.

        Args:
            make_run: a fresh run; called again if a checkpoint turned out not to fit after it was half loaded.

        Returns:
            The run, and the reports of the epochs that need not be repeated.
        """
        for file in self._whole():
            run = make_run()
            try:
                state = load_checkpoint(file.path)
                run.load_state_dict(state["run"])
                reports = [EpochReport(**report) for report in state["reports"]]
                epoch = reports[-1].epoch
            # a checkpoint of another release can fail to fit in any way
            except (
                CheckpointError,
                ValueError,
                LookupError,
                TypeError,
                AttributeError,
                RuntimeError,
            ) as error:
                logger.warning("Trial %d: its checkpoint does not fit (%s).", self._number, error)
                continue
            logger.info("Trial %d goes on after epoch %d.", self._number, epoch)
            return run, reports
        return make_run(), []

    def keep(self, run: FinetuneRun, reports: Sequence[EpochReport], *, last: bool = False) -> None:
        """Write where ``run`` stands, if enough work was done since the last time and more is to come.

        Args:
            run: between two epochs.
            reports: of all its epochs so far.
            last: whether the trial ends with this epoch.
        """
        start = time.monotonic()
        worth_it = start - self._since >= max(_SHORTEST_SECONDS, _WORK_PER_SAVING * self._cost.seconds)
        if (last or not worth_it) and not self._urgent():
            return
        path = self._folder / f"trial-{self._number}.attempt-{self._attempt}.ckpt"
        state = {"run": run.state_dict(), "reports": [asdict(report) for report in reports]}
        try:
            save_checkpoint(path, state)
        except (OSError, RuntimeError) as error:  # torch has its own for a disk that is full
            self._warn(path, error)
        else:
            self._cost.failure = ""
            # a later attempt's says that this worker lost its lease while it wrote: then ours is the one too many
            for superseded in self._whole()[1:]:
                remove(superseded.path)
        self._since = time.monotonic()
        self._cost.seconds = self._since - start

    def _warn(self, path: Path, error: Exception) -> None:
        """Once for each reason: a worker that meets the same one after every epoch need not repeat it."""
        reason = getattr(error, "strerror", None) or str(error)
        if reason == self._cost.failure:
            return
        self._cost.failure = reason
        advice = "make room, or name another folder by --artifacts"
        if isinstance(error, PermissionError):
            advice = (
                f"let all workers' users write to {path.parent} (a common group and umask 002, or chmod -R g+rwX), or "
                "name another folder by --artifacts"
            )
        logger.warning(
            "Trial %d: no checkpoint could be written to %s (%s); going on without, so that trials which lose their "
            "worker start over. To mend that, %s. This is said once.",
            self._number, path.parent, reason, advice,
        )  # fmt: skip

    def delete(self) -> None:
        """Remove what is left of the trial's checkpoints, unfinished ones too: the trial has ended."""
        for file in self._files():
            remove(file.path)

    def _whole(self) -> list[TrialFile]:
        """This trial's checkpoints, the latest attempt first."""
        whole = [file for file in self._files() if not file.is_part]
        return sorted(whole, key=lambda file: file.attempt, reverse=True)

    def _files(self) -> list[TrialFile]:
        return [file for file in trial_files(self._folder) if file.number == self._number]


def prune_checkpoints(artifacts: Path, opened: OpenStudy) -> None:
    """Remove the checkpoints that nobody will read, whoever left them behind. Any worker may do it at any time.

    These are checkpoints of trials that have ended, such as one that was given up after its worker was lost, those
    of all attempts but the latest, and what a killed worker left unfinished.
    """
    files = trial_files(artifacts / CHECKPOINTS / opened.files)
    if not files:
        return
    now = standings(opened.storage, opened.study_id, {file.number for file in files})
    latest: dict[int, int] = {}
    for file in files:
        if not file.is_part:
            latest[file.number] = max(file.attempt, latest.get(file.number, 0))
    for file in files:
        standing = now.get(file.number)
        if standing is None:
            continue
        superseded = file.is_stale_part(standing) if file.is_part else file.attempt < latest[file.number]
        if superseded or standing.state.is_finished():
            remove(file.path)
