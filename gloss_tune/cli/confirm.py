"""``gloss-tune confirm``: the best settings trained again with fresh seeds, and what that proves."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gloss_tune.cli.options import (
    DEFAULT_STORAGE,
    Artifacts,
    DataDir,
    Force,
    Format,
    OutputFormat,
    Storage,
    Study,
    Threads,
    emit,
    to_json,
)
from gloss_tune.cli.tables import print_table
from gloss_tune.cli.worker_options import Devices, Grace, PerDevice, Track, Workers
from gloss_tune.wording import count, exact

if TYPE_CHECKING:
    from gloss_tune.confirm.confirmation import Confirmation


def confirm(
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            min=1,
            metavar="K",
            help="How many of the best settings; by default as many as before, at first 3.",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            min=2,
            metavar="S",
            help="How many fresh seeds each, the same for all; by default as many as before, at first 5.",
        ),
    ] = None,
    queue_only: Annotated[
        bool,
        typer.Option(
            "--queue-only", help="Queue the runs for workers elsewhere, run none, print what is known."
        ),
    ] = False,
    workers: Workers = None,
    per_device: PerDevice = None,
    device: Devices = "auto",
    threads: Threads = None,
    grace: Grace = 5.0,
    track: Track = None,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
    force: Force = False,
    format: OutputFormat = Format.table,
) -> None:
    """Train the best settings again with fresh seeds, rank them by their mean, and say whether the winner is luck.

    The runs are queued as a study NAME.confirm on the same storage; workers started elsewhere with --study
    NAME.confirm help. Repeating it goes on where it stood; a higher --top or --seeds adds what is missing.
    Example: gloss-tune confirm --top 3 --seeds 5
    """
    from gloss_tune.confirm.confirmation import confirm as queue
    from gloss_tune.confirm.confirmation import ranking
    from gloss_tune.launch.group import choose_workers, finish_study
    from gloss_tune.signals import stop_on_signal
    from gloss_tune.study.study import open_study
    from gloss_tune.workers.options import worker_options

    options = worker_options(storage, artifacts, threads=threads, data_dir=data_dir, grace=grace, track=track)
    with stop_on_signal(last=True) as stop:
        opened = open_study(storage, study)
        # before anything is written: a device that is not there is wrong input
        group = choose_workers(
            "cpu" if queue_only else device,
            workers,
            per_device,
            rehearsal=opened.spec.rehearse,
            threads=threads,
        )
        queued = queue(opened, top, seeds)
        _say(_what_was_queued(queued, top, seeds))
        if queue_only:
            _say(
                f"Next: 'gloss-tune launch --study {queued.study.name}', then 'gloss-tune confirm' for the result."
            )
        else:
            finish_study(queued.study, storage, options, group, stop)
    ranked = ranking(queued.study)
    assert ranked is not None
    emit(to_json(ranked)) if format is Format.json else _print(ranked)


def _what_was_queued(queued: Confirmation, top: int | None, seeds: int | None) -> str:
    plan, name = queued.plan, queued.study.name
    whole = f"{count(len(plan.candidates), 'setting')} with {count(len(plan.seeds), 'seed')}"
    if not queued.added:
        text = f"Confirmation {name} is there already, {whole} each."
    elif queued.added == len(plan.runs()):
        text = f"Confirmation {name} is made: {whole} each, {count(queued.added, 'run')}."
    else:
        text = f"Confirmation {name} has grown by {count(queued.added, 'run')}: {whole} each."
    if queued.newcomers:
        one, numbers = len(queued.newcomers) == 1, ", ".join(map(str, queued.newcomers))
        text += f" The study's best have changed: {f'trial {numbers} joins' if one else f'trials {numbers} join'}."
    if len(plan.candidates) < (top or plan.top):
        text += f" The study has no more than {count(len(plan.candidates), 'different complete setting')}."
    if len(plan.seeds) > (seeds or 0) > 0 or len(plan.candidates) > (top or plan.top):
        text += " All that were queued once are kept and ranked."
    return text


def _print(ranked: dict[str, Any]) -> None:
    names = list(dict.fromkeys(name for row in ranked["candidates"] for name in row["params"]))
    columns = [
        "trial",
        "mean",
        "sd",
        "n",
        "failed",
        "behind by",
        "95 % interval",
        "p (Holm)",
        "in the search",
        *names,
    ]
    rows = [
        [
            row["number"],
            exact(row["mean"]),
            exact(row["sd"]),
            row["n"],
            row["failed"] or None,
            exact(row["difference"]),
            None if row["interval"] is None else " to ".join(exact(end) for end in row["interval"]),
            None if row["p_value"] is None else f"{row['p_value']:.2g}",
            exact(row["search_value"]),
            *(row["params"].get(name) for name in names),
        ]
        for row in ranked["candidates"]
    ]
    print_table(
        columns, rows, title=f"{ranked['confirmation']}: {ranked['metric']} on the validation documents"
    )
    emit(f"\n{ranked['verdict']}")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
