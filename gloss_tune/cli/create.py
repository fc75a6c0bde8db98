"""``gloss-tune create``: make a study with its whole budget of waiting trials."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from gloss_tune.cli.options import (
    DEFAULT_STORAGE,
    DataDir,
    Force,
    Format,
    OutputFormat,
    Storage,
    Study,
    emit,
    to_json,
)
from gloss_tune.cli.spec_options import SpecOptions, with_spec_options


@with_spec_options()
def create(
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    *,
    options: SpecOptions,
    data_dir: DataDir = None,
    force: Force = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Read the data and print the resolved specification; write nothing."),
    ] = False,
    format: OutputFormat = Format.table,
) -> None:
    """Make a study. Repeating it as it was does nothing; with another specification it is refused.

    Example: gloss-tune create --dataset mr --trials 20
    """
    from gloss_tune.study.create import create as create_study
    from gloss_tune.study.create import resolve_data
    from gloss_tune.study.inputs import portable

    resolved = options.resolve()
    if dry_run:
        resolved, _ = resolve_data(portable(resolved), data_dir, download=False)
        emit(to_json(resolved.to_dict()) if format is Format.json else _to_toml(resolved.to_dict()))
        return
    created = create_study(resolved, storage, study, data_dir=data_dir)
    opened = created.study
    if format is Format.json:
        emit(
            to_json(
                {
                    "study": opened.name,
                    "storage": opened.storage.redacted_url,
                    "created": created.is_new,
                    "trials": opened.spec.trials,
                }
            )
        )
        return
    emit(opened.name)
    verb = "is made" if created.is_new else "was there already, the same"
    _say(f"Study {opened.name} {verb}: {opened.spec.trials} trials on {opened.storage.redacted_url}.")
    _say("Next: 'gloss-tune worker', as many processes as you like; 'gloss-tune status' to look.")


def _to_toml(data: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps({key: value for key, value in data.items() if value is not None})


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
