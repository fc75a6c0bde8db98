"""``gloss-tune storage``: studies moved between storages."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gloss_tune.wording import count

storage = typer.Typer(
    help="Move studies between storages.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_PLACE = "sqlite:///FILE, postgresql://USER@HOST/DATABASE, or @FILE to read that from a file."


@storage.command()
def move(
    source: Annotated[str, typer.Argument(metavar="FROM", help=f"The storage to leave: {_PLACE}")],
    target: Annotated[
        str, typer.Argument(metavar="TO", help="The storage to go to, likewise; made if need be.")
    ],
    study: Annotated[
        str | None,
        typer.Option(
            "--study",
            envvar="GLOSS_TUNE_STUDY",
            metavar="NAME",
            help="This study with its confirmation; by default all studies.",
        ),
    ] = None,
    delete_source: Annotated[
        bool,
        typer.Option("--delete-source", help="Leave nothing of them in FROM; files stay where they are."),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Even while workers are at work: they end, and what they have begun waits in TO."
        ),
    ] = False,
) -> None:
    """Move studies to another storage with nothing lost: trials, attempts, reports, attributes, notes, times.

    It happens whole or not at all, and is compared before it counts. FROM keeps what was there, marked: commands that
    look show it and say where it went, workers refuse it, moving back replaces it. Files stay where they are.
    Example: gloss-tune storage move sqlite:///gloss-tune.db @URLFILE
    """
    from gloss_tune.catalog.move import move_studies
    from gloss_tune.workers.artifacts.store import artifacts_folder

    moved = move_studies(source, target, study, delete_source=delete_source, force=force)
    left = (
        "holds them no more"
        if moved.deleted
        else "keeps them, marked ('gloss-tune studies delete' removes that)"
    )
    lines = [
        f"Moved to {moved.target}, and compared: {count(len(moved.studies), 'study', 'studies')} "
        f"({', '.join(moved.studies)}) with {count(moved.trials, 'trial')}. {moved.source} {left}."
    ]
    if moved.requeued:
        lines.append(f"{count(moved.requeued, 'trial')} ran, and waits there now.")
    if moved.steered:
        lines.append(
            f"Paused or stopped there as here: {', '.join(moved.steered)}; 'gloss-tune resume' undoes it."
        )
    files = artifacts_folder(source).absolute()
    if files.is_dir() and any(files.iterdir()):
        lines.append(f"Their files are in {files}: give workers there --artifacts {files}.")
    sys.stderr.write("\n".join(lines) + "\n")
