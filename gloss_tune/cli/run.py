"""``gloss-tune run``: create, launch and export in one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gloss_tune.cli import spec_options
from gloss_tune.cli.export_formats import ExportFormat, ExportFormatOption, render
from gloss_tune.cli.options import DEFAULT_STORAGE, Artifacts, DataDir, Force, Storage, Study, Threads, emit
from gloss_tune.cli.worker_options import Devices, Grace, PerDevice, Track, Workers


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
    max_failures: spec_options.MaxFailures = None,
    keep: spec_options.Keep = None,
    assignments: spec_options.Assignments = None,
    data_dir: DataDir = None,
    force: Force = False,
    artifacts: Artifacts = None,
    workers: Workers = None,
    per_device: PerDevice = None,
    device: Devices = "auto",
    threads: Threads = None,
    grace: Grace = 5.0,
    track: Track = None,
    format: ExportFormatOption = ExportFormat.json,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write the export to this file instead of stdout."),
    ] = None,
) -> None:
    """Make a study, run it to its end, and print the best parameters.

    One worker works in this process; several are launched and looked after. Workers started elsewhere on the same
    storage help. Running it again after a stop goes on where it stood.
    Example: gloss-tune run --dataset mr --trials 12 --max-train-docs 1600 --output best.json
    """
    flags = spec_options.to_flags(locals())
    from gloss_tune.confirm.export import export as read_export
    from gloss_tune.launch.group import choose_workers, run_study
    from gloss_tune.signals import stop_on_signal
    from gloss_tune.workers.options import worker_options

    resolved = spec_options.resolve(spec, flags, assignments or [])
    options = worker_options(storage, artifacts, threads=threads, data_dir=data_dir, grace=grace, track=track)
    with stop_on_signal(last=True) as stop:
        group = choose_workers(device, workers, per_device, rehearsal=resolved.rehearse, threads=threads)
        opened = run_study(resolved, storage, study, options, group, stop, data_dir=data_dir)
    emit(render(read_export(opened), format), output)
