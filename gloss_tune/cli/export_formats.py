"""How the best parameters are written: for people, for scripts, and for the next command."""

from __future__ import annotations

import shlex
from enum import Enum
from typing import Annotated, Any

import typer

from gloss_tune.cli.options import to_json
from gloss_tune.spec.layers import to_toml


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


def render(exported: dict[str, Any], format: ExportFormat) -> str:
    """The export as text."""
    if format is ExportFormat.json:
        return to_json(exported)
    if format is ExportFormat.toml:
        return to_toml(exported)
    if format is ExportFormat.yaml:
        import yaml

        return str(yaml.safe_dump(exported, sort_keys=False, allow_unicode=True))
    params = exported["best"]["params"]
    words = [f"--loss={exported['loss']}", f"--mode={exported['mode']}", f"--model={exported['model']}"]
    words += [f"--metric={exported['metric']}", f"--seed={exported['seed']}", "--trials=1"]
    words += [f"--set=train.{name}={value}" for name, value in params.items()]
    return shlex.join(words)
