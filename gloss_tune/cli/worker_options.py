"""Options that say how workers work, and how many of them, shared by all commands that run trials."""

from __future__ import annotations

from typing import Annotated

import typer

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
LeaveWhenEmpty = Annotated[
    bool,
    typer.Option(
        "--leave-when-empty",
        help="Leave as soon as no trial waits, instead of holding the device in case another worker is lost.",
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="TIME|SECONDS",
        help="Leave before this time: 17:30, 2026-11-25T17:30 (local, or with its zone), or seconds from now. No trial "
        "is begun that cannot finish an epoch; one that runs is kept as a checkpoint and waits again. Exit code 75 if "
        "work remains.",
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
        metavar="auto|cpu|cuda:N,GPU-…,…",
        help="What to compute on: all CUDA devices or else the CPU (auto), or names with commas between. "
        "Workers take them in turn.",
    ),
]
