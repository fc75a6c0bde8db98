"""``gloss-tune launch``: many workers on this machine, supervised."""

from __future__ import annotations

import typer

from gloss_tune.cli.cluster_options import (
    Account,
    Address,
    ClaimName,
    Cpus,
    DryRun,
    Gpus,
    Image,
    Memory,
    Mount,
    Namespace,
    On,
    Partition,
    RayArg,
    SbatchArg,
    Secret,
    Stop,
    Time,
)
from gloss_tune.cli.options import DEFAULT_STORAGE, Artifacts, DataDir, Force, Storage, Study, Threads, emit
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
from gloss_tune.clusters.engines import Engine, check_options


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
    on: On = None,
    gpus: Gpus = None,
    cpus: Cpus = None,
    memory: Memory = None,
    dry_run: DryRun = False,
    stop: Stop = False,
    time: Time = None,
    partition: Partition = None,
    account: Account = None,
    sbatch_arg: SbatchArg = None,
    address: Address = None,
    ray_arg: RayArg = None,
    image: Image = None,
    namespace: Namespace = None,
    claim: ClaimName = None,
    secret: Secret = None,
    mount: Mount = None,
) -> None:
    """Start workers on this machine's devices and look after them until the study is done, or on a cluster by --on.

    One that dies is started again, and its trial goes on; one that dies again and again is left out. A first
    SIGTERM or Ctrl-C lets all finish their epoch, a second stops them at once. --max-trials counts for each worker.
    SIGUSR1 lets them leave after an epoch of any length; the exit code is 75 if work remains.
    Example: gloss-tune launch --workers 4 --storage sqlite:///gloss-tune.db

    Example: gloss-tune launch --on slurm --workers 8 --time 4h --storage @URLFILE

    Example: gloss-tune launch --on ray --workers 8 --address http://head:8265 --storage @URLFILE

    Example: gloss-tune launch --on kubernetes --workers 8 --image IMAGE --storage @URLFILE | kubectl apply -f -
    """
    from gloss_tune.clusters.kubernetes_manifest import KubernetesOptions
    from gloss_tune.clusters.launch import Options, launch_on, stop_on
    from gloss_tune.clusters.order import Wish
    from gloss_tune.clusters.ray_jobs import RayOptions
    from gloss_tune.clusters.slurm_script import SlurmOptions
    from gloss_tune.launch.group import choose_workers, work_to_end
    from gloss_tune.signals import stop_on_signal
    from gloss_tune.study.study import open_study
    from gloss_tune.workers.options import worker_options

    pods = {
        "--image": image,
        "--namespace": namespace,
        "--claim": claim,
        "--secret": secret,
        "--mount": mount,
    }
    asked = {
        "--gpus-per-worker": gpus, "--cpus-per-worker": cpus, "--memory": memory, "--dry-run": dry_run,
        "--stop": stop, "--time": time, "--partition": partition, "--account": account, "--sbatch-arg": sbatch_arg,
        "--address": address, "--ray-arg": ray_arg, **pods,
    }  # fmt: skip
    check_options(on, asked, {"--until": until, "--workers-per-device": per_device, "--force": force})
    if on is not None:
        options: Options
        match on:
            case Engine.slurm:
                options = SlurmOptions(time, partition, account, sbatch_arg or ())
            case Engine.ray:
                options = RayOptions(address, ray_arg or ())
            case Engine.kubernetes:
                chosen = {name.removeprefix("--"): value for name, value in pods.items() if value is not None}
                options = KubernetesOptions(**chosen)
        if stop:
            emit(stop_on(storage, study, options))
            return
        wish = Wish(
            workers,
            gpus,
            cpus or 4,
            memory,
            grace,
            artifacts,
            data_dir,
            device,
            threads,
            max_trials,
            timeout,
            track or (),
        )
        if text := launch_on(storage, study, wish, options, dry_run=dry_run):
            emit(text)
        return
    with stop_on_signal(last=True) as signals:
        opened = open_study(storage, study)
        worker = worker_options(
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
        code = work_to_end(opened, storage, worker, group, signals, supervised=True)
    raise typer.Exit(code)
