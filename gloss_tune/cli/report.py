"""``gloss-tune report``: a study as something to read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gloss_tune.cli.options import DEFAULT_STORAGE, Artifacts, DataDir, Device, Storage, Study, emit


def report(
    output: Annotated[
        Path,
        typer.Option(
            "--output", metavar="DIR", help="Folder for report.md, report.html and pictures; replaces theirs."
        ),
    ],
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            metavar="DIR",
            help="Model for the map of embeddings before and after tuning, as 'retrain' writes it; by default the one "
            "that the study kept of its best trial (create --keep).",
        ),
    ] = None,
    publish: Annotated[
        bool,
        typer.Option(
            "--publish/--no-publish",
            help="Show pictures and notes in optuna-dashboard as well: that writes to the storage.",
        ),
    ] = True,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
    device: Device = "auto",
) -> None:
    """Write what a study searched, found and cost, in words, tables and pictures: Markdown, and one HTML file.

    report.html needs no network. The same pictures appear in 'gloss-tune dashboard'.
    Example: gloss-tune report --output report
    """
    from gloss_tune.logging import logger
    from gloss_tune.report import ReportOptions, write_report
    from gloss_tune.study.study import open_study
    from gloss_tune.workers.artifacts.store import artifacts_folder

    opened = open_study(storage, study, read_only=not publish)
    folder = artifacts_folder(storage, artifacts)
    files = write_report(opened, ReportOptions(output, folder, model, data_dir, device, publish))
    if publish:
        logger.info("Pictures and notes are in 'gloss-tune dashboard' as well.")
    emit("\n".join(map(str, files)))
