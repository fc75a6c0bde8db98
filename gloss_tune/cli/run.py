"""``gloss-tune run``: create, launch and export in one."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gloss_tune.cli.export_formats import ExportFormat, ExportFormatOption, render
from gloss_tune.cli.options import DEFAULT_STORAGE, Artifacts, DataDir, Force, Storage, Study, Threads, emit
from gloss_tune.cli.spec_options import SpecOptions, with_spec_options
from gloss_tune.cli.worker_options import Devices, Grace, LeaveWhenEmpty, PerDevice, Track, Workers
from gloss_tune.wording import parse_duration

if TYPE_CHECKING:
    from gloss_tune.pipeline.course import Pipeline
    from gloss_tune.signals import StopFlag


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
    leave_when_empty: LeaveWhenEmpty = False,
    grace: Grace = 5.0,
    track: Track = None,
    format: ExportFormatOption = ExportFormat.json,
    time: Annotated[
        str | None,
        typer.Option(
            "--time",
            metavar="2h|30m|SECONDS",
            help="Search, confirm, retrain and report within this time: trials, epochs and documents are chosen from "
            "the measured speed, unless they are given. Needs --output DIR.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE|DIR",
            help="Write the export to this file instead of stdout. With --time, or where it is a folder or has no "
            "ending, the folder for all that comes of it: model, best.json, report.html.",
        ),
    ] = None,
) -> None:
    """Make a study, run it to its end, and print the best parameters; with --time, all the way to a model.

    One worker works in this process; several are launched and looked after. Workers started elsewhere on the same
    storage help. Running it again after a stop goes on where it stood.
    Example: gloss-tune run --dataset my.csv --time 1h --output model
    """
    from gloss_tune.confirm.export import export as read_export
    from gloss_tune.errors import InputError
    from gloss_tune.launch.group import choose_workers, run_study
    from gloss_tune.signals import stop_on_signal
    from gloss_tune.workers.options import worker_options

    started, seconds = monotonic(), _seconds(time)
    if seconds is not None and output is None:
        raise InputError("--time leads to a model and a report; name their folder by --output DIR")
    spec = options.resolve()
    each_worker = worker_options(
        storage,
        artifacts,
        threads=threads,
        data_dir=data_dir,
        leave_when_empty=leave_when_empty,
        grace=grace,
        track=track,
    )
    with stop_on_signal(last=True) as stop:
        group = choose_workers(device, workers, per_device, rehearsal=spec.rehearse, threads=threads)
        if output is not None and (seconds is not None or _is_folder(output)):
            from gloss_tune.pipeline.course import Pipeline

            pipeline = Pipeline(storage, study, output, each_worker, group, started)
            emit(render(_to_model(options, seconds, pipeline, stop), format))
            return
        opened = run_study(spec, storage, study, each_worker, group, stop, data_dir=data_dir)
    emit(render(read_export(opened), format), output)


def _seconds(text: str | None) -> float | None:
    from gloss_tune.errors import InputError

    try:
        return None if text is None else parse_duration(text)
    except ValueError:
        raise InputError(
            f"--time takes a time such as 2h, 30m, 1h30m or 5400 (seconds), got {text!r}"
        ) from None


def _is_folder(output: Path) -> bool:
    return output.is_dir() or not (output.suffix or output.exists())


def _to_model(
    options: SpecOptions, seconds: float | None, pipeline: Pipeline, stop: StopFlag
) -> dict[str, Any]:
    """Everything from data to model and report; says what came of it, and gives the export."""
    from gloss_tune.logging import logger
    from gloss_tune.pipeline.plan import Given
    from gloss_tune.pipeline.run import run_pipeline
    from gloss_tune.spec.build import build_spec, lay_together

    layers = options.layers()
    said = lay_together(*layers)
    named = {**said.get("train", {}), **said.get("space", {})}
    epochs = named.get("epochs")
    given = Given(
        said.get("trials"),
        epochs if isinstance(epochs, int) else None,
        said.get("max_train_docs"),
        said.get("max_val_docs"),
        class_weights="class_weights" in named,
    )
    outcome = run_pipeline(
        seconds, lambda layer=None: build_spec(*layers, layer or {}), given, pipeline, stop
    )
    for line in outcome.lines(pipeline.output, seconds):
        logger.info("%s", line)
    return outcome.exported
