"""``gloss-tune status``: budget, best so far, who is working, time to go."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from gloss_tune.cli.options import (
    DEFAULT_STORAGE,
    Artifacts,
    Format,
    OutputFormat,
    Storage,
    Study,
    emit,
    to_json,
)
from gloss_tune.cli.tables import print_table, shown
from gloss_tune.wording import count, duration, size

_REFRESH_SECONDS = 2.0


def status(
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Print again whenever something changed, until finished.")
    ] = False,
    artifacts: Artifacts = None,
    format: OutputFormat = Format.table,
) -> None:
    """Say how a study stands and how much it keeps on disk.

    Example: gloss-tune status --watch
    """
    from gloss_tune.study.opened import artifacts_folder, open_study
    from gloss_tune.study.reading import status as read_status
    from gloss_tune.workers.artifacts.trial_files import sizes

    opened = open_study(storage, study, read_only=True)
    folder = artifacts_folder(storage, artifacts)
    before = None
    while True:
        now = read_status(opened)
        if now != before:  # files alone are no news: checkpoints come and go with every epoch
            shown_now = {**now, "artifacts": sizes(folder, opened.files)}
            emit(to_json(shown_now)) if format is Format.json else _print(shown_now)
        before = now
        if not watch or now["state"] == "finished":
            return
        time.sleep(_REFRESH_SECONDS)


def _print(now: dict[str, Any]) -> None:
    from gloss_tune.study.reading import finished_of

    trials = now["trials"]
    parts = [
        f"{trials[key]} {key}"
        for key in ("complete", "pruned", "failed", "running", "waiting")
        if trials[key]
    ]
    lines = [
        ("study", f"{now['study']} ({now['state']}{', rehearsal' if now['rehearsal'] else ''})"),
        ("storage", now["storage"]),
        ("searches", f"{now['loss']} on {now['dataset']} with {now['model']}, highest {now['metric']}"),
        ("trials", f"{finished_of(trials)} of {trials['budget']} finished: {', '.join(parts)}"),
    ]
    if now["stopped"]:
        lines.append(("stopped", now["stopped"]))
    best = now["best"]
    if best is None:
        lines.append(("best", "none yet"))
    else:
        lines.append(("best", f"{best['value']:.4f} in trial {best['number']}: {shown(best['params'])}"))
    if now["seconds_to_go"]:
        lines.append(("to go", f"about {duration(now['seconds_to_go'])}"))
    if now["artifacts"] is not None:
        lines.append(("artifacts", _kept(now["artifacts"])))
    emit("\n".join(f"{name:9} {text}" for name, text in lines))
    if now["workers"]:
        emit("")
        rows = [(w["id"], w["device"], w["trial"], w["epoch"] or None) for w in now["workers"]]
        print_table(["worker", "device", "trial", "epoch"], rows)


def _kept(artifacts: dict[str, Any]) -> str:
    parts = []
    for kind in ("checkpoint", "model"):
        files = artifacts[f"{kind}s"]
        if files["count"] or files["bytes"]:
            parts.append(f"{count(files['count'], kind)} {size(files['bytes'])}")
    if artifacts["other_bytes"]:
        parts.append(f"other files {size(artifacts['other_bytes'])}")
    return f"{artifacts['folder']}: {', '.join(parts) or 'empty'}"
