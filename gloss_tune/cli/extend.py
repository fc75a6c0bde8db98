"""``gloss-tune extend``: more trials for a study that is there."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from gloss_tune.cli.options import (
    DEFAULT_STORAGE,
    Force,
    Format,
    OutputFormat,
    Storage,
    Study,
    Token,
    emit,
    to_json,
)


def extend(
    trials: Annotated[int, typer.Option("--trials", metavar="N", help="How many trials more.")],
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    token: Token = None,
    force: Force = False,
    format: OutputFormat = Format.table,
) -> None:
    """Give a study N more trials, whether it has finished, runs, or was stopped. Workers that run take them.

    Example: gloss-tune extend --trials 10
    """
    from gloss_tune.study.extend import budget_text
    from gloss_tune.study.extend import extend as extend_study
    from gloss_tune.study.status import why_none_begins
    from gloss_tune.study.study import open_study

    opened = open_study(storage, study)
    extended = extend_study(opened, trials, token)
    if format is Format.json:
        emit(to_json({"study": opened.name, **asdict(extended)}))
        return
    emit(budget_text(extended, opened.name))
    hindered = why_none_begins(opened)
    if hindered is not None:
        sys.stderr.write(f"But no trial begins: {hindered}.\n")
    sys.stderr.write("Next: 'gloss-tune launch', or 'gloss-tune worker', unless workers are running.\n")
