"""``gloss-tune run``: create, work and export in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gloss_tune.cli import spec_options
from gloss_tune.cli.export import ExportFormat, ExportFormatOption, render
from gloss_tune.cli.options import DEFAULT_STORAGE, Artifacts, DataDir, Device, Storage, Study, Threads, emit


def run(
    dataset: spec_options.Dataset = None,
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    spec: spec_options.SpecFile = None,
    model: spec_options.Model = None,
    loss: spec_options.Loss = None,
    mode: spec_options.Mode = None,
    trials: spec_options.Trials = None,
    metric: spec_options.Metric = None,
    sampler: spec_options.Sampler = None,
    pruner: spec_options.Pruner = None,
    epochs: spec_options.Epochs = None,
    batch_size: spec_options.BatchSize = None,
    max_length: spec_options.MaxLength = None,
    seed: spec_options.Seed = None,
    max_train_docs: spec_options.MaxTrainDocs = None,
    text_column: spec_options.TextColumn = None,
    label_column: spec_options.LabelColumn = None,
    rehearse: spec_options.Rehearse = False,
    rehearse_seconds: spec_options.RehearseSeconds = None,
    lease: spec_options.Lease = None,
    assignments: spec_options.Assignments = None,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
    device: Device = "auto",
    threads: Threads = None,
    format: ExportFormatOption = ExportFormat.json,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write the export to this file instead of stdout."),
    ] = None,
) -> None:
    """Make a study, run it to its end in this process, and print the best parameters.

    Workers started elsewhere on the same storage help. Running it again after a stop goes on where it stood.
    Example: gloss-tune run --dataset mr --trials 12 --max-train-docs 1600 --output best.json
    """
    flags = spec_options.to_flags(locals())
    resolved = spec_options.resolve(spec, flags, assignments or [])
    exported = run_study(resolved, storage, study, data_dir, artifacts, device, threads)
    emit(render(exported, format), output)


def run_study(
    spec: Any,
    storage: str,
    study: str | None,
    data_dir: Path | None,
    artifacts: Path | None,
    device: str,
    threads: int | None,
) -> dict[str, Any]:
    """Create the study or find it, run it to its end in this process, and return its export."""
    from gloss_tune.logging import logger
    from gloss_tune.study.create import create
    from gloss_tune.study.opened import artifacts_folder
    from gloss_tune.study.reading import export, trial_counts
    from gloss_tune.workers.signals import stop_on_signal
    from gloss_tune.workers.worker import WorkerOptions, work

    with stop_on_signal() as stop:
        opened = create(spec, storage, study, data_dir=data_dir).study
        options = WorkerOptions(
            device=device, threads=threads, data_dir=data_dir, artifacts=artifacts_folder(storage, artifacts)
        )

        def say_progress() -> None:
            now = trial_counts(opened)
            ended = now["complete"] + now["pruned"] + now["failed"]
            logger.info("Study %s: %d of %d trials finished.", opened.name, ended, now["budget"])

        work(opened, options, stop, say_progress)
        if stop.signum is not None:
            raise typer.Exit(stop.exit_code)
    return export(opened)
