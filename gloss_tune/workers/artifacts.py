"""What a trial leaves beside its numbers, where optuna-dashboard shows it."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

from gloss_tune.finetune.config import EpochReport


def artifact_store(folder: Path) -> FileSystemArtifactStore:
    """The store in ``folder``, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileSystemArtifactStore(folder)


def upload_epochs(trial: optuna.Trial, reports: Sequence[EpochReport], folder: Path) -> None:
    """Attach every epoch's metrics to the trial, as ``epochs.csv``."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "epochs.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["epoch", *reports[0].metrics])
            writer.writeheader()
            writer.writerows({"epoch": report.epoch, **report.metrics} for report in reports)
        upload_artifact(
            artifact_store=artifact_store(folder),
            file_path=str(path),
            study_or_trial=trial,
            mimetype="text/csv",
        )
