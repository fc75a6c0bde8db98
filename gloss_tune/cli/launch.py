"""``gloss-tune launch``: many workers on this machine, supervised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gloss_tune.cli.options import DEFAULT_STORAGE, Artifacts, DataDir, Force, Storage, Study, Threads
from gloss_tune.cli.worker import Grace, MaxTrials, Timeout, Track, worker_options
from gloss_tune.launch.group import group

if TYPE_CHECKING:
    pass

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="How many workers; by default one on each CUDA device, else one.",
    ),
]
PerDevice = Annotated[
    str | None,
    typer.Option(
        "--workers-per-device",
        metavar="K|auto",
        help="How many workers on each device, instead of --workers; auto measures how many its memory holds and the "
        "cores feed: one on each device until the first trial has told what it takes, then all.",
    ),
]
Devices = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda:N,…",
        help="What to compute on: all CUDA devices or else the CPU (auto), or names with commas between. "
        "Workers take them in turn.",
    ),
]


def launch(
    workers: Workers = None,
    per_device: PerDevice = None,
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    device: Devices = "auto",
    threads: Threads = None,
    max_trials: MaxTrials = None,
    timeout: Timeout = None,
    grace: Grace = 5.0,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
    track: Track = None,
    force: Force = False,
) -> None:
    """Start workers on this machine's devices and look after them until the study is done.

    One that dies is started again, and its trial goes on; one that dies again and again is left out. A first
    SIGTERM or Ctrl-C lets all finish their epoch, a second stops them at once. --max-trials counts for each worker.
    Example: gloss-tune launch --workers 4 --storage sqlite:///gloss-tune.db
    """
    from gloss_tune.launch.density import parse_per_device
    from gloss_tune.launch.starter import Starter
    from gloss_tune.launch.supervisor import supervise
    from gloss_tune.signals import stop_on_signal
    from gloss_tune.study.study import open_study

    each = parse_per_device(per_device, workers)
    with stop_on_signal(last=True) as stop:
        opened = open_study(storage, study)
        options = worker_options(
            storage,
            artifacts,
            max_trials=max_trials,
            timeout=timeout,
            threads=threads,
            data_dir=data_dir,
            grace=grace,
            track=track,
        )
        devices, density = group(device, workers, each, opened.spec.rehearse, threads)
        starter = Starter(storage, opened.spec.rehearse, lambda: stop.signum is not None)
        code = supervise(opened, storage, starter, devices, options, stop, density)
    raise typer.Exit(code)
