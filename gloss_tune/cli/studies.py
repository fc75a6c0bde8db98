"""``gloss-tune studies``: what a storage holds; copies, other names, and deletion with all files."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from gloss_tune.cli.options import (
    DEFAULT_STORAGE,
    Artifacts,
    Format,
    OutputFormat,
    Storage,
    complete_study,
    emit,
    to_json,
)
from gloss_tune.cli.tables import print_table
from gloss_tune.wording import count, duration, size

studies = typer.Typer(
    help="List, copy, rename and delete studies.", context_settings={"help_option_names": ["-h", "--help"]}
)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of a study of the storage.", autocompletion=complete_study)
]
NewName = Annotated[str, typer.Argument(metavar="NEW", help="A name that no study of the storage has.")]
AtWork = Annotated[bool, typer.Option("--force", help="Even while workers are at work on it.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this, say what would be done.")]


@studies.callback(invoke_without_command=True)
def _default(
    context: typer.Context,
    storage: Storage = DEFAULT_STORAGE,
    artifacts: Artifacts = None,
    format: OutputFormat = Format.table,
) -> None:
    if context.invoked_subcommand is None:
        list_studies(storage, artifacts, format)


@studies.command("list")
def list_studies(
    storage: Storage = DEFAULT_STORAGE,
    artifacts: Artifacts = None,
    format: OutputFormat = Format.table,
) -> None:
    """List the studies of a storage: state, trials, best, what they search, age, size on disk.

    Example: gloss-tune studies list --storage sqlite:///gloss-tune.db
    """
    from gloss_tune.catalog.listing import age
    from gloss_tune.catalog.listing import list_studies as read
    from gloss_tune.study.status import finished_of
    from gloss_tune.workers.artifacts.store import artifacts_folder

    rows = read(storage, artifacts_folder(storage, artifacts))
    if format is Format.json:
        emit(to_json(rows))
        return

    def cells(row: dict[str, Any]) -> list[Any]:
        old = age(row["created"])
        return [
            row["name"] + (" (rehearsal)" if row["rehearsal"] else ""),
            row["state"]
            + (", confirmed" if row["confirmation"] else "")
            + (", moved" if row["moved"] else ""),
            f"{finished_of(row['trials'])} of {row['trials']['budget']}",
            row["best"],
            row["dataset"],
            row["loss"],
            row["model"].rsplit("/", 1)[-1],
            None if old is None else duration(old),
            size(row["bytes"]),
        ]

    print_table(
        ["study", "state", "trials", "best", "data", "loss", "encoder", "age", "on disk"], map(cells, rows)
    )


@studies.command()
def copy(name: Name, new: NewName, storage: Storage = DEFAULT_STORAGE) -> None:
    """Copy a study with its trials and its confirmation; its files stay the original's.

    Example: gloss-tune studies copy mr-gloss mr-gloss-2
    """
    from gloss_tune.catalog.changes import copy_study

    made = copy_study(storage, name, new)
    emit(made.name)
    sys.stderr.write(f"Study {made.name} is a copy of {name}, {count(made.spec.trials, 'trial')}.\n")


@studies.command()
def rename(name: Name, new: NewName, storage: Storage = DEFAULT_STORAGE, force: AtWork = False) -> None:
    """Give a study and its confirmation another name.

    Example: gloss-tune studies rename mr-gloss mr-old
    """
    from gloss_tune.catalog.changes import rename_study

    emit(rename_study(storage, name, new, force=force).name)


@studies.command()
def delete(
    name: Name,
    storage: Storage = DEFAULT_STORAGE,
    artifacts: Artifacts = None,
    yes: Yes = False,
    force: AtWork = False,
) -> None:
    """Delete a study with its confirmation, checkpoints, models and attachments. Refused while workers are at work.

    Example: gloss-tune studies delete mr-old --yes
    """
    from gloss_tune.catalog.changes import delete_study, plan_deletion
    from gloss_tune.errors import InputError
    from gloss_tune.workers.artifacts.store import artifacts_folder

    folder = artifacts_folder(storage, artifacts)
    if not yes:
        planned = plan_deletion(storage, name, folder, force=force)
        raise InputError(
            f"This would delete {planned.text}; repeat it with --yes to do so. Nothing was deleted"
        )
    deleted = delete_study(storage, name, folder, force=force)
    sys.stderr.write(f"Deleted: {deleted.text}.\n")


@studies.command()
def prune(storage: Storage = DEFAULT_STORAGE, artifacts: Artifacts = None, yes: Yes = False) -> None:
    """Remove files that belong to no study of this storage, as Optuna's own tools leave them when they delete one.

    Where several storages share the artifacts folder, these may be another one's: look before you say --yes.
    Example: gloss-tune studies prune
    """
    from gloss_tune.catalog.leftovers import prune_files
    from gloss_tune.errors import InputError
    from gloss_tune.workers.artifacts.store import artifacts_folder

    found, taken = prune_files(storage, artifacts_folder(storage, artifacts), remove=yes)
    emit("\n".join(map(str, found)) or "Nothing is left over.")
    what = f"{count(len(found), 'file or folder', 'files and folders')} of {size(taken)}"
    if found and not yes:
        raise InputError(f"This would remove {what}; repeat it with --yes to do so. Nothing was removed")
    if found:
        sys.stderr.write(f"Removed {what}.\n")
