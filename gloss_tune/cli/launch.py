"""``gloss-tune launch``: many workers on this machine, supervised."""

from __future__ import annotations

import typer

from gloss_tune.cli.options import DEFAULT_STORAGE, Artifacts, DataDir, Force, Storage, Study, Threads
from gloss_tune.cli.worker_options import (
    Devices,
    Grace,
    LeaveWhenEmpty,
    MaxTrials,
    PerDevice,
    Timeout,
    Track,
    Until,
    Workers,
)


def launch(
    workers: Workers = None,
    per_device: PerDevice = None,
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    device: Devices = "auto",
    threads: Threads = None,
    max_trials: MaxTrials = None,
    timeout: Timeout = None,
    leave_when_empty: LeaveWhenEmpty = False,
    until: Until = None,
    grace: Grace = 5.0,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
    track: Track = None,
    force: Force = False,
) -> None:
    """Start workers on this machine's devices and look after them until the study is done.

    One that dies is started again, and its trial goes on; one that dies again and again is left out. A first
    SIGTERM or Ctrl-C lets all finish their epoch, a second stops them at once. --max-trials counts for each worker.
    SIGUSR1 lets them leave after an epoch of any length; the exit code is 75 if work remains.
    Example: gloss-tune launch --workers 4 --storage sqlite:///gloss-tune.db
    """
    from gloss_tune.launch.group import choose_workers, work_to_end
    from gloss_tune.signals import stop_on_signal
    from gloss_tune.study.study import open_study
    from gloss_tune.workers.options import worker_options

    with stop_on_signal(last=True) as stop:
        opened = open_study(storage, study)
        options = worker_options(
            storage,
            artifacts,
            max_trials=max_trials,
            timeout=timeout,
            threads=threads,
            data_dir=data_dir,
            leave_when_empty=leave_when_empty,
            until=until,
            grace=grace,
            track=track,
        )
        group = choose_workers(device, workers, per_device, rehearsal=opened.spec.rehearse, threads=threads)
        code = work_to_end(opened, storage, options, group, stop, supervised=True)
    raise typer.Exit(code)
