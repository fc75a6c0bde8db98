"""One trial's way back: where it stood after an epoch, in the artifacts folder, for whoever runs it next."""

from __future__ import annotations

import time
from collections.abc import Sequence
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
from gloss_tune.study.queue import Claim

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
        self._folder = artifacts / "checkpoints" / study
        self._number = claimed.number
        self._attempt = claimed.attempt
        self._since = time.monotonic()
        self._cost = 0.0

    def resume(self, run: FinetuneRun) -> list[EpochReport]:
        """Bring ``run`` to where an earlier attempt stood.

        Returns:
            The reports of the epochs that need not be repeated; none where there is no whole checkpoint.
        """
        for path in self._files():
            try:
                state = load_checkpoint(path)
                run.load_state_dict(state["run"])
            except (CheckpointError, ValueError, KeyError) as error:
                logger.warning("Trial %d: %s", self._number, error)
                continue
            reports = [EpochReport(**report) for report in state["reports"]]
            logger.info("Trial %d goes on after epoch %d.", self._number, reports[-1].epoch)
            return reports
        return []

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
            for superseded in older:
                if superseded != path:
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
        return sorted(found, key=lambda path: int(path.stem.rsplit("-", 1)[-1]), reverse=True)
