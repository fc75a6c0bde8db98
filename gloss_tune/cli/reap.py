"""``gloss-tune reap``: requeue the trials of workers that are gone."""

from __future__ import annotations

from typing import Annotated

import typer

from gloss_tune.cli.options import (
    DEFAULT_STORAGE,
    Artifacts,
    Force,
    Format,
    OutputFormat,
    Storage,
    Study,
    emit,
    to_json,
)
from gloss_tune.wording import count


def reap(
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    all_running: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Requeue every running trial, its lease notwithstanding: all workers are known to be gone. "
            "One that lives drops its trial and takes another.",
        ),
    ] = False,
    artifacts: Artifacts = None,
    failed: Annotated[
        bool,
        typer.Option(
            "--failed",
            help="Requeue the failed trials too, after the cause was fixed, and say why each had failed.",
        ),
    ] = False,
    force: Force = False,
    format: OutputFormat = Format.table,
) -> None:
    """Requeue, under their own numbers, the trials whose workers are gone: silent past their lease, or ended here.

    Workers do the same by themselves every few seconds; this is for when none is left.
    Example: gloss-tune reap --storage sqlite:///gloss-tune.db
    """
    from gloss_tune.logging import logger
    from gloss_tune.queue.recovery import requeue_failed
    from gloss_tune.study.study import open_study
    from gloss_tune.workers.artifacts.store import artifacts_folder
    from gloss_tune.workers.artifacts.tidy import tidy

    opened = open_study(storage, study)
    lost = opened.requeue_lost(all_running=all_running)
    again = requeue_failed(opened.storage, opened.study_id) if failed else {}
    tidy(artifacts_folder(storage, artifacts), opened)
    if format is Format.json:
        told = {"requeued": [*lost.requeued, *again], "given_up": lost.given_up, "had_failed": again}
        emit(to_json({"study": opened.name, **told}))
        return
    for number, reason in again.items():
        logger.info("Trial %d had failed: %s", number, " ".join(reason.split()))
    for number in sorted([*lost.requeued, *again]):
        emit(str(number))
    requeued = len(lost.requeued) + len(again)
    logger.info("%s requeued in study %s.", count(requeued, "trial") if requeued else "No trial", opened.name)
