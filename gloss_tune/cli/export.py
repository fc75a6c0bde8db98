"""``gloss-tune export``: the best parameters, with all that is needed to trust and rerun them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gloss_tune.cli.export_formats import ExportFormat, ExportFormatOption, render
from gloss_tune.cli.options import DEFAULT_STORAGE, Storage, Study, emit


def export(
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    format: ExportFormatOption = ExportFormat.json,
    trial: Annotated[
        int | None,
        typer.Option("--trial", min=0, metavar="N", help="Export this complete trial instead of the best."),
    ] = None,
    unconfirmed: Annotated[
        bool,
        typer.Option("--unconfirmed", help="Export the search's best trial, whatever a confirmation says."),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write to this file instead of stdout.")
    ] = None,
) -> None:
    """Print the best parameters and where they come from: the winner of a finished 'confirm', else the best trial.

    Example: gloss-tune export --format toml --output best.toml
    """
    from gloss_tune.confirm.export import export as read_export
    from gloss_tune.study.study import open_study

    opened = open_study(storage, study, read_only=True)
    emit(render(read_export(opened, trial, unconfirmed=unconfirmed), format), output)
