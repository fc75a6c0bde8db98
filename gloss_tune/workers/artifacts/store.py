"""What a trial leaves beside its numbers, where optuna-dashboard shows it."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

from gloss_tune.finetune.config import EpochReport
from gloss_tune.logging import logger
from gloss_tune.storage.url import parse_storage_url

#: Names of what a worker attaches to a trial.
EPOCHS, CONFUSION = "epochs.csv", "confusion.csv"
_HOSTS = "hosts"
# no worker lives so long, or else it is one that doctor wrongly takes for one with another folder
_FORGOTTEN_SECONDS = 90 * 86_400.0


def artifact_store(folder: Path) -> FileSystemArtifactStore:
    """The store in ``folder``, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    return artifact_reader(folder)


def artifact_reader(folder: Path) -> FileSystemArtifactStore:
    """The store in ``folder`` for those who only look, and make nothing: it may not even be there."""
    return FileSystemArtifactStore(folder)


def upload_epochs(trial: optuna.Trial, reports: Sequence[EpochReport], folder: Path) -> None:
    """Attach every epoch's metrics to the trial, as ``epochs.csv``."""
    rows = [[report.epoch, *report.metrics.values()] for report in reports]
    _upload_table(trial, EPOCHS, [["epoch", *reports[0].metrics], *rows], folder)


def upload_confusion(
    trial: optuna.Trial, classes: Sequence[str], matrix: NDArray[np.int64], folder: Path
) -> None:
    """Attach how the best epoch's model confuses classes to the trial, as ``confusion.csv``.

    Args:
        trial: of a worker that holds it.
        classes: C names.
        matrix: (C, C), validation documents by true class (rows) and predicted one.
        folder: of the artifact store.
    """
    rows = [[name, *counts] for name, counts in zip(classes, matrix.tolist(), strict=True)]
    _upload_table(trial, CONFUSION, [["true", *classes], *rows], folder)


def _upload_table(
    trial: optuna.Trial, name: str, rows: Sequence[Sequence[str | float]], folder: Path
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / name
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
        upload_artifact(
            artifact_store=artifact_store(folder),
            file_path=str(path),
            study_or_trial=trial,
            mimetype="text/csv",
        )


def leave_marker(artifacts: Path, study: str, worker: str) -> None:
    """Note that a worker uses the folder, so that ``doctor`` can tell whether all share it.

    A marker is a worker's and not its host's: machines may share a name, and even more where one is the other's copy.
    A folder that cannot be written to is only warned of: its trials still count, but start over when they lose
    their worker.

    Args:
        artifacts: the worker's folder; made if need be.
        study: name of the study, checked already.
        worker: its id, used by no other worker.
    """
    marker = _marker(artifacts, study, worker)
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        for other in marker.parent.iterdir():  # of workers that were killed
            if time.time() - other.stat().st_mtime > _FORGOTTEN_SECONDS:
                other.unlink(missing_ok=True)
    except OSError as error:
        logger.warning(
            "Nothing can be kept in %s (%s); going on without.", artifacts, error.strerror or error
        )


def remove_marker(artifacts: Path, study: str, worker: str) -> None:
    """The worker leaves."""
    with contextlib.suppress(OSError):
        _marker(artifacts, study, worker).unlink()


def has_left_marker(artifacts: Path, study: str, worker: str) -> bool:
    """Whether a worker of the study has used this very folder."""
    return _marker(artifacts, study, worker).is_file()


def _marker(artifacts: Path, study: str, worker: str) -> Path:
    # an id as read from a shared database must not lead out of the folder
    return artifacts / _HOSTS / study / re.sub(r"[^A-Za-z0-9-]", "_", worker)[-200:]


def artifacts_folder(url: str, chosen: Path | None = None) -> Path:
    """Where workers and dashboard keep files: as chosen, else beside an SQLite file, else in the current folder."""
    if chosen is not None:
        return chosen
    if from_environment := os.environ.get("GLOSS_TUNE_ARTIFACTS"):
        return Path(from_environment)
    parsed = parse_storage_url(url)
    parent = Path(str(parsed.database)).parent if parsed.get_backend_name() == "sqlite" else Path()
    return parent / "gloss-tune-artifacts"
