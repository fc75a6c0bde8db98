"""``gloss-tune run``: create, launch and export in one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gloss_tune.cli import spec_options
from gloss_tune.cli.export import ExportFormat, ExportFormatOption, render
from gloss_tune.cli.launch import Devices, PerDevice, Workers
from gloss_tune.cli.options import DEFAULT_STORAGE, Artifacts, DataDir, Force, Storage, Study, Threads, emit
from gloss_tune.cli.worker import Grace, Track, worker_options
from gloss_tune.launch.group import group, work_to_end

if TYPE_CHECKING:
    from gloss_tune.workers.worker import WorkerOptions


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
    resolved = spec_options.resolve(spec, flags, assignments or [])
    options = worker_options(storage, artifacts, threads=threads, data_dir=data_dir, grace=grace, track=track)
    exported = run_study(resolved, storage, study, options, device, workers, per_device)
    emit(render(exported, format), output)


def run_study(
    spec: Any,
    storage: str,
    study: str | None,
    options: WorkerOptions,
    device: str = "auto",
    workers: int | None = 1,
    per_device: str | None = None,
) -> dict[str, Any]:
    """Create the study or find it, run it to its end, and return its export."""
    from gloss_tune.confirm.export import export
    from gloss_tune.launch.density import parse_per_device
    from gloss_tune.signals import stop_on_signal
    from gloss_tune.study.create import create

    each = parse_per_device(per_device, workers)
    with stop_on_signal(last=True) as stop:
        devices, density = group(device, workers, each, spec.rehearse, options.threads)
        opened = create(spec, storage, study, data_dir=options.data_dir).study
        code = work_to_end(opened, storage, options, devices, density, stop)
        if code:
            raise typer.Exit(code)
    return export(opened)
