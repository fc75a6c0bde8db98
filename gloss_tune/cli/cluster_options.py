"""Options of ``launch --on``: what is asked of a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from gloss_tune.clusters.engines import Engine

_COMMON, _SLURM, _RAY, _KUBERNETES = "On a cluster", "On Slurm", "On Ray", "On Kubernetes"

On = Annotated[
    Engine | None,
    typer.Option(
        "--on",
        help="Have this cluster start the workers, instead of this machine: an array of Slurm jobs, or a job of Ray "
        "with a task for each worker, is submitted; a Kubernetes Job is printed, for kubectl apply -f -.",
        rich_help_panel=_COMMON,
    ),
]
Gpus = Annotated[
    int | None,
    typer.Option(
        "--gpus-per-worker",
        min=0,
        metavar="N",
        help="GPUs of each worker; by default 1, and 0 in a rehearsal or with --device cpu.",
        rich_help_panel=_COMMON,
    ),
]
Cpus = Annotated[
    int | None,
    typer.Option(
        "--cpus-per-worker",
        min=1,
        metavar="N",
        help="CPUs of each worker, 4 by default.",
        rich_help_panel=_COMMON,
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Memory of each worker, as in 16G; by default the cluster's own.",
        rich_help_panel=_COMMON,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print what would be submitted, and submit nothing. The text runs by hand; on Slurm and Ray, the file "
        "with the storage's URL that it names is made.",
        rich_help_panel=_COMMON,
    ),
]
Stop = Annotated[
    bool,
    typer.Option(
        "--stop",
        help="Cancel what was submitted for the study, by whatever call. On Kubernetes kubectl does so: the command is "
        "named.",
        rich_help_panel=_COMMON,
    ),
]
Time = Annotated[
    str | None,
    typer.Option(
        "--time",
        metavar="LIMIT",
        help="Time limit of each job, as sbatch reads it or as in 2h. Before it a worker hands its trial back, and "
        "the job goes back to Slurm's queue.",
        rich_help_panel=_SLURM,
    ),
]
Partition = Annotated[
    str | None,
    typer.Option("--partition", metavar="NAME", help="Partition of Slurm to run in.", rich_help_panel=_SLURM),
]
Account = Annotated[
    str | None,
    typer.Option("--account", metavar="NAME", help="Account of Slurm to charge.", rich_help_panel=_SLURM),
]
SbatchArg = Annotated[
    list[str] | None,
    typer.Option(
        "--sbatch-arg",
        metavar="OPTION",
        help="One more option of sbatch, as in --sbatch-arg=--qos=long; may be repeated. It wins.",
        rich_help_panel=_SLURM,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="URL",
        help="Where Ray takes jobs, as in http://head:8265; by default what RAY_ADDRESS says, or else this machine.",
        rich_help_panel=_RAY,
    ),
]
RayArg = Annotated[
    list[str] | None,
    typer.Option(
        "--ray-arg",
        metavar="OPTION",
        help="One more option of 'ray job submit', as in --ray-arg=--entrypoint-num-cpus=1; may be repeated. It wins.",
        rich_help_panel=_RAY,
    ),
]
Image = Annotated[
    str | None,
    typer.Option(
        "--image",
        metavar="NAME",
        help="Image with gloss-tune and tini, as the Dockerfile makes one; by default gloss-tune:VERSION.",
        rich_help_panel=_KUBERNETES,
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        metavar="NAME",
        help="Namespace of the Job; by default kubectl's own.",
        rich_help_panel=_KUBERNETES,
    ),
]
ClaimName = Annotated[
    str | None,
    typer.Option(
        "--claim",
        metavar="NAME",
        help="ReadWriteMany claim with artifacts and data; by default gloss-tune.",
        rich_help_panel=_KUBERNETES,
    ),
]
Secret = Annotated[
    str | None,
    typer.Option(
        "--secret",
        metavar="NAME",
        help="Secret whose key 'url' is the storage's URL; by default gloss-tune.",
        rich_help_panel=_KUBERNETES,
    ),
]
Mount = Annotated[
    str | None,
    typer.Option(
        "--mount",
        metavar="DIR",
        help="Where pods see the claim, /data by default. There lie --artifacts, by default its folder artifacts, and "
        "data and an encoder of your own.",
        rich_help_panel=_KUBERNETES,
    ),
]
