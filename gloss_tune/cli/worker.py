"""``gloss-tune worker``: run trials until the study's budget is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gloss_tune.cli.options import DEFAULT_STORAGE, Artifacts, DataDir, Device, Force, Storage, Study, Threads

if TYPE_CHECKING:
    from gloss_tune.workers.worker import WorkerOptions

MaxTrials = Annotated[
    int | None, typer.Option("--max-trials", min=1, metavar="N", help="Leave after N trials.")
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        min=0,
        metavar="SECONDS",
        help="Begin no trial after this time; finish the one that runs.",
    ),
]
Grace = Annotated[
    float,
    typer.Option(
        "--grace",
        min=0,
        metavar="SECONDS",
        help="Time from a first SIGTERM or Ctrl-C to the end, to finish the epoch and keep it; choose less than the "
        "notice that Slurm (--signal, KillWait) or Kubernetes (terminationGracePeriodSeconds) gives.",
    ),
]

Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        envvar="GLOSS_TUNE_TRACK",
        metavar="tensorboard|mlflow|wandb",
        help="Tell this tracker of every trial as well; may be repeated. Files go to the artifacts folder's tracking/.",
    ),
]


def worker(
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    max_trials: MaxTrials = None,
    timeout: Timeout = None,
    grace: Grace = 5.0,
    device: Device = "auto",
    threads: Threads = None,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
    track: Track = None,
    force: Force = False,
) -> None:
    """Run trials until none is left. Start as many as you like, on every machine that reaches the storage.

    Example: gloss-tune worker --storage sqlite:///gloss-tune.db
    """
    from gloss_tune.signals import stop_on_signal
    from gloss_tune.workers.entry import serve

    with stop_on_signal(last=True) as stop:
        options = worker_options(
            storage,
            artifacts,
            max_trials=max_trials,
            timeout=timeout,
            device=device,
            threads=threads,
            data_dir=data_dir,
            grace=grace,
            track=track,
        )
        code = serve(storage, study, options, stop)
    raise typer.Exit(code)


def worker_options(
    storage: str, artifacts: Path | None, *, track: list[str] | None = None, **options: Any
) -> WorkerOptions:
    """How workers work, with the folder for their files filled in, and their trackers checked."""
    from gloss_tune.workers.artifacts.store import artifacts_folder
    from gloss_tune.workers.tracking import check_trackers
    from gloss_tune.workers.worker import WorkerOptions

    folder = artifacts_folder(storage, artifacts)
    return WorkerOptions(artifacts=folder, track=check_trackers(track or []), **options)
