"""``gloss-tune status``: budget, best so far, who is working, time to go."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from gloss_tune.cli.options import DEFAULT_STORAGE, Format, OutputFormat, Storage, Study, emit, to_json
from gloss_tune.cli.tables import print_table, shown

_REFRESH_SECONDS = 2.0


def status(
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Print again whenever something changed, until finished.")
    ] = False,
    format: OutputFormat = Format.table,
) -> None:
    """Say how a study stands.

    Example: gloss-tune status --watch
    """
    from gloss_tune.study.opened import open_study
    from gloss_tune.study.reading import status as read_status

    opened = open_study(storage, study, read_only=True)
    before = None
    while True:
        now = read_status(opened)
        if now != before:
            emit(to_json(now)) if format is Format.json else _print(now)
        before = now
        if not watch or now["state"] == "finished":
            return
        time.sleep(_REFRESH_SECONDS)


def _print(now: dict[str, Any]) -> None:
    trials = now["trials"]
    ended = trials["complete"] + trials["pruned"] + trials["failed"]
    parts = [
        f"{trials[key]} {key}"
        for key in ("complete", "pruned", "failed", "running", "waiting")
        if trials[key]
    ]
    lines = [
        ("study", f"{now['study']} ({now['state']}{', rehearsal' if now['rehearsal'] else ''})"),
        ("storage", now["storage"]),
        ("searches", f"{now['loss']} on {now['dataset']} with {now['model']}, highest {now['metric']}"),
        ("trials", f"{ended} of {trials['budget']} finished: {', '.join(parts)}"),
    ]
    best = now["best"]
    if best is None:
        lines.append(("best", "none yet"))
    else:
        lines.append(("best", f"{best['value']:.4f} in trial {best['number']}: {shown(best['params'])}"))
    if now["seconds_to_go"]:
        lines.append(("to go", f"about {_duration(now['seconds_to_go'])}"))
    emit("\n".join(f"{name:9} {text}" for name, text in lines))
    if now["workers"]:
        emit("")
        rows = [(w["id"], w["device"], w["trial"], w["epoch"] or None) for w in now["workers"]]
        print_table(["worker", "device", "trial", "epoch"], rows)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
