"""``gloss-tune create``: make a study with its whole budget of waiting trials."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gloss_tune.cli.options import (
    DEFAULT_STORAGE,
    DataDir,
    Force,
    Format,
    OutputFormat,
    Storage,
    Study,
    complete_study,
    emit,
    to_json,
)
from gloss_tune.cli.spec_options import SpecOptions, with_spec_options

if TYPE_CHECKING:
    from gloss_tune.spec.spec import StudySpec
    from gloss_tune.study.study import OpenStudy


@with_spec_options()
def create(
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    *,
    options: SpecOptions,
    data_dir: DataDir = None,
    force: Force = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="STUDY",
            autocompletion=complete_study,
            help="Begin from this study: its specification, under the other options, and its best settings as first "
            "trials. Give the new one a name by --study.",
        ),
    ] = None,
    history: Annotated[
        bool,
        typer.Option(
            "--import",
            help="With --from: its finished trials within the new space count as history, beside the budget; refused "
            "where results do not compare.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Read the data, try the encoder on them, print the resolved specification; write nothing.",
        ),
    ] = False,
    format: OutputFormat = Format.table,
) -> None:
    """Make a study. Repeating it as it was does nothing; with another specification it is refused.

    Example: gloss-tune create --dataset mr --trials 20
    """
    from gloss_tune.errors import InputError
    from gloss_tune.study.create import create as create_study
    from gloss_tune.study.create import try_out
    from gloss_tune.study.study import open_study

    known = None if source is None else open_study(storage, source, read_only=True)
    resolved = options.resolve() if known is None else _from(known, options, history)
    if known is None and history:
        raise InputError("--import takes the history of a study; name it by --from")
    if known is not None and study is None and not dry_run:
        raise InputError(
            f"A study that begins from {known.name!r} needs a name of its own; give one by --study"
        )
    if dry_run:
        resolved = try_out(resolved, data_dir)
        emit(to_json(resolved.to_dict()) if format is Format.json else _to_toml(resolved.to_dict()))
        return
    created = create_study(resolved, storage, study, data_dir=data_dir, imported=known if history else None)
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


def _from(known: OpenStudy, options: SpecOptions, history: bool) -> StudySpec:
    """The specification of a study that begins from another one."""
    from gloss_tune.spec.build import build_spec, lay_together
    from gloss_tune.study.priors import base_layer, best_settings

    layers = options.layers()
    base = base_layer(known, layers)
    spec = build_spec(base, *layers)
    if history or spec.sampler == "grid" or "first_trials" in lay_together(*layers):
        return spec
    return build_spec(base, *layers, {"first_trials": best_settings(known, spec)})


def _to_toml(data: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps({key: value for key, value in data.items() if value is not None})


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
