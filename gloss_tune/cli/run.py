"""``gloss-tune run``: create, launch and export in one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gloss_tune.cli.export_formats import ExportFormat, ExportFormatOption, render
from gloss_tune.cli.options import DEFAULT_STORAGE, Artifacts, DataDir, Force, Storage, Study, Threads, emit
from gloss_tune.cli.spec_options import SpecOptions, with_spec_options
from gloss_tune.cli.worker_options import Devices, Grace, PerDevice, Track, Workers


@with_spec_options()
def run(
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    *,
    options: SpecOptions,
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
    from gloss_tune.confirm.export import export as read_export
    from gloss_tune.launch.group import choose_workers, run_study
    from gloss_tune.signals import stop_on_signal
    from gloss_tune.workers.options import worker_options

    spec = options.resolve()
    each_worker = worker_options(
        storage, artifacts, threads=threads, data_dir=data_dir, grace=grace, track=track
    )
    with stop_on_signal(last=True) as stop:
        group = choose_workers(device, workers, per_device, rehearsal=spec.rehearse, threads=threads)
        opened = run_study(spec, storage, study, each_worker, group, stop, data_dir=data_dir)
    emit(render(read_export(opened), format), output)
