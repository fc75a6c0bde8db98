"""``gloss-tune status``: budget, best so far, who is working, time to go."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from gloss_tune.cli import live
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
from gloss_tune.errors import StorageLostError
from gloss_tune.wording import count, duration, size

_FOREIGN_SHOWN = 10


def status(
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Show it live until the study has finished; into a file or pipe, print again at every change.",
        ),
    ] = False,
    artifacts: Artifacts = None,
    format: OutputFormat = Format.table,
) -> None:
    """Say how a study stands and how much it keeps on disk.

    Example: gloss-tune status --watch
    """
    from gloss_tune.signals import stop_on_signal
    from gloss_tune.storage.retry import PATIENCE_SECONDS
    from gloss_tune.study.status import live_status
    from gloss_tune.study.study import open_study
    from gloss_tune.workers.artifacts.store import artifacts_folder
    from gloss_tune.workers.artifacts.trial_files import sizes

    opened = open_study(storage, study, read_only=True)
    folder = artifacts_folder(storage, artifacts)

    def tell(now: dict[str, Any]) -> None:
        whole = {**now, "artifacts": sizes(folder, opened.files)}
        emit(to_json(whole)) if format is Format.json else _print(whole)

    if not watch:
        tell(live_status(opened)[0])
        return
    with stop_on_signal(last=True) as stop:
        stop.served = True  # nothing here takes longer than a glance
        opened.storage.retry_for(PATIENCE_SECONDS, lambda: stop.signum is not None, opened.spec.lease)
        try:
            if sys.stdout.isatty() and format is Format.table:
                live.watch(lambda: live_status(opened), lambda: stop.signum is not None)
            else:
                _tell_news(lambda: live_status(opened)[0], tell, lambda: stop.signum is not None)
        except StorageLostError:
            if stop.signum is None:
                raise
        if stop.signum is not None:
            raise typer.Exit(stop.exit_code)


def _tell_news(
    read: Callable[[], dict[str, Any]], tell: Callable[[dict[str, Any]], None], must_stop: Callable[[], bool]
) -> None:
    """Tell whenever something changed, until the study has finished."""
    before = None
    while not must_stop():
        now = read()
        if now != before:  # files alone are no news: checkpoints come and go with every epoch
            tell(now)
        before = now
        if now["state"] == "finished":
            return
        live.pause(must_stop)


def _print(now: dict[str, Any]) -> None:
    from gloss_tune.study.status import finished_of

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
    if now["precision"]:
        lines.append(("precision", now["precision"]))
    if now["unlike"]:
        lines.append(("unlike", now["unlike"]))
    if now["stopped"]:
        lines.append(("stopped", now["stopped"]))
    if now["steering"]:
        lines.append(("steering", f"{now['steering']}; 'gloss-tune resume --study {now['study']}' undoes it"))
    if now["foreign"]:
        numbers = ", ".join(map(str, now["foreign"][:_FOREIGN_SHOWN]))
        more = ", …" if len(now["foreign"]) > _FOREIGN_SHOWN else ""
        lines.append(("foreign", f"trials {numbers}{more} are run by another tool, and left alone"))
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
        jobs = any(w["job"] for w in now["workers"])
        rows = [
            (
                w["id"],
                *((w["job"] or None, w["node"] or None) if jobs else ()),
                w["device"],
                w["trial"],
                w["epoch"] or None,
                w["speed"] or None,
            )
            for w in now["workers"]
        ]
        columns = ["worker", *(("job", "node") if jobs else ()), "device", "trial", "epoch", "documents/s"]
        print_table(columns, rows)


def _kept(artifacts: dict[str, Any]) -> str:
    parts = []
    for kind in ("checkpoint", "model"):
        files = artifacts[f"{kind}s"]
        if files["count"] or files["bytes"]:
            parts.append(f"{count(files['count'], kind)} {size(files['bytes'])}")
    if artifacts["other_bytes"]:
        parts.append(f"other files {size(artifacts['other_bytes'])}")
    return f"{artifacts['folder']}: {', '.join(parts) or 'empty'}"
