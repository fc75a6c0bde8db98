"""``gloss-tune export``: the best parameters, with all that is needed to trust and rerun them."""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from gloss_tune.cli.options import DEFAULT_STORAGE, Storage, Study, emit, to_json


class ExportFormat(str, Enum):
    """How the best parameters are written."""

    json = "json"
    toml = "toml"
    yaml = "yaml"
    args = "args"


ExportFormatOption = Annotated[
    ExportFormat,
    typer.Option(
        "--format", help="args prints options for 'gloss-tune create' that fix every hyperparameter."
    ),
]


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


def render(exported: dict[str, Any], format: ExportFormat) -> str:
    """The export as text."""
    if format is ExportFormat.json:
        return to_json(exported)
    if format is ExportFormat.toml:
        import tomli_w

        return tomli_w.dumps(_without_none(exported))
    if format is ExportFormat.yaml:
        import yaml

        return str(yaml.safe_dump(exported, sort_keys=False, allow_unicode=True))
    params = exported["best"]["params"]
    words = [f"--loss={exported['loss']}", f"--mode={exported['mode']}", f"--model={exported['model']}"]
    words += [f"--metric={exported['metric']}", f"--seed={exported['seed']}", "--trials=1"]
    words += [f"--set=train.{name}={value}" for name, value in params.items()]
    return shlex.join(words)


def _without_none(data: Any) -> Any:
    """TOML has no null: such keys are left out."""
    if isinstance(data, dict):
        return {key: _without_none(value) for key, value in data.items() if value is not None}
    return data
