"""``gloss-tune enqueue``: one more trial, with parameters of one's own."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

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


def enqueue(
    params: Annotated[
        str,
        typer.Argument(
            metavar="JSON",
            help="Searched hyperparameters, each within its range; what is left out is drawn.",
            show_default=False,
        ),
    ],
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    token: Token = None,
    force: Force = False,
    format: OutputFormat = Format.table,
) -> None:
    """Add one trial with given parameters to those that wait.

    Example: gloss-tune enqueue '{"temperature": 0.1, "mask_ratio": 0.4}'
    """
    from gloss_tune.study.extend import budget_text
    from gloss_tune.study.extend import enqueue as enqueue_trial
    from gloss_tune.study.study import open_study

    opened = open_study(storage, study)
    extended = enqueue_trial(opened, _parse(params), token)
    if format is Format.json:
        emit(to_json({"study": opened.name, **asdict(extended)}))
    else:
        emit(budget_text(extended, opened.name))


def _parse(text: str) -> dict[str, Any]:
    from gloss_tune.errors import InputError

    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(
            f"Parameters are a JSON table, for example '{{\"temperature\": 0.1}}'; got {text[:80]!r}"
        )
    return found
