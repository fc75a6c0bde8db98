"""``gloss-tune worker``: run trials until the study's budget is done."""

from __future__ import annotations

import typer

from gloss_tune.cli.options import DEFAULT_STORAGE, Artifacts, DataDir, Device, Force, Storage, Study, Threads
from gloss_tune.cli.worker_options import Grace, MaxTrials, Timeout, Track


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
    from gloss_tune.workers.options import worker_options

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
