"""``gloss-tune worker``: run trials until the study's budget is done."""

from __future__ import annotations

from typing import Annotated

import typer

from gloss_tune.cli.options import DEFAULT_STORAGE, Artifacts, DataDir, Device, Storage, Study, Threads

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


def worker(
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    max_trials: MaxTrials = None,
    timeout: Timeout = None,
    device: Device = "auto",
    threads: Threads = None,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
) -> None:
    """Run trials until none is left. Start as many as you like, on every machine that reaches the storage.

    Example: gloss-tune worker --storage sqlite:///gloss-tune.db
    """
    from gloss_tune.logging import logger
    from gloss_tune.study.opened import artifacts_folder, open_study
    from gloss_tune.workers.signals import stop_on_signal
    from gloss_tune.workers.worker import WorkerOptions, work

    with stop_on_signal() as stop:
        opened = open_study(storage, study)
        options = WorkerOptions(
            max_trials=max_trials,
            timeout=timeout,
            device=device,
            threads=threads,
            data_dir=data_dir,
            artifacts=artifacts_folder(storage, artifacts),
        )
        finished = work(opened, options, stop)
        why = "a signal arrived" if stop.signum else "its limit is reached or no trial is left"
        logger.info("Worker leaves after %d trial%s: %s.", finished, "" if finished == 1 else "s", why)
        raise typer.Exit(stop.exit_code)
