"""``gloss-tune worker``: run trials until the study's budget is done."""

from __future__ import annotations

import typer

from gloss_tune.cli.options import DEFAULT_STORAGE, Artifacts, DataDir, Device, Force, Storage, Study, Threads
from gloss_tune.cli.worker_options import Grace, LeaveWhenEmpty, MaxTrials, Timeout, Track, Until


def worker(
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    max_trials: MaxTrials = None,
    timeout: Timeout = None,
    leave_when_empty: LeaveWhenEmpty = False,
    until: Until = None,
    grace: Grace = 5.0,
    device: Device = "auto",
    threads: Threads = None,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
    track: Track = None,
    force: Force = False,
) -> None:
    """Run trials until none is left. Start as many as you like, on every machine that reaches the storage.

    SIGUSR1 asks it to leave after its epoch: the trial waits again, and the exit code is 75 if work remains.
    'gloss-tune pause', 'stop' and 'resume' steer all workers of a study.
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
            leave_when_empty=leave_when_empty,
            until=until,
            grace=grace,
            track=track,
        )
        code = serve(storage, study, options, stop)
    raise typer.Exit(code)
