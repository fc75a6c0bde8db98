"""What a trial leaves beside its numbers, where optuna-dashboard shows it."""

from __future__ import annotations

import csv
import re
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

from gloss_tune.finetune.config import EpochReport
from gloss_tune.logging import logger

_HOSTS = "hosts"


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


def leave_marker(artifacts: Path, study: str) -> None:
    """Note that a worker on this machine uses the folder, so that ``doctor`` can tell whether all machines share it.

    A folder that cannot be written to is only warned of: its trials still count, but start over when they lose
    their worker.

    Args:
        artifacts: the worker's folder; made if need be.
        study: name of the study, checked already.
    """
    marker = _marker(artifacts, study, socket.gethostname())
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError as error:
        logger.warning(
            "Nothing can be kept in %s (%s); going on without.", artifacts, error.strerror or error
        )


def has_left_marker(artifacts: Path, study: str, host: str) -> bool:
    """Whether a worker of the study on ``host`` has used this folder."""
    return _marker(artifacts, study, host).is_file()


def _marker(artifacts: Path, study: str, host: str) -> Path:
    # a host's name as read from a shared database must not lead out of the folder
    return artifacts / _HOSTS / study / re.sub(r"[^A-Za-z0-9-]", "_", host)[:200]
