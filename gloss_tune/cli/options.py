"""Options that several commands share, each said once."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable
from contextlib import closing
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

DEFAULT_STORAGE = "sqlite:///gloss-tune.db"


class Format(str, Enum):
    """How data is printed."""

    table = "table"
    json = "json"


def complete_study(context: typer.Context, incomplete: str) -> list[str]:
    """For a shell's completion of ``--study``: the names on the storage; none where it cannot be asked."""
    url = str(context.params.get("storage") or os.environ.get("GLOSS_TUNE_STORAGE") or DEFAULT_STORAGE)
    try:
        if url.startswith("sqlite:///"):
            import sqlite3

            from gloss_tune.storage.sqlite_file import path_in_url, reading_address

            address = reading_address(path_in_url(url.removeprefix("sqlite:///")))
            with closing(sqlite3.connect(address, uri=True, timeout=0.2)) as connection:
                names = [name for (name,) in connection.execute("SELECT study_name FROM studies")]
        else:
            from gloss_tune.storage.connect import open_storage

            names = [study.study_name for study in open_storage(url, read_only=True).get_all_studies()]
    except Exception:  # a shell that completes must not talk
        return []
    return sorted(name for name in names if name.startswith(incomplete))


Storage = Annotated[
    str,
    typer.Option(
        "--storage",
        envvar="GLOSS_TUNE_STORAGE",
        metavar="URL",
        help="Database shared by all workers: sqlite:///FILE or postgresql://USER@HOST/DATABASE, or @FILE to read "
        "it from a file. Give a password through the environment variable or a file, not on the command line.",
    ),
]
Study = Annotated[
    str | None,
    typer.Option(
        "--study",
        envvar="GLOSS_TUNE_STUDY",
        metavar="NAME",
        autocompletion=complete_study,
        help="Name of the study; may be left out where the storage holds one study.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="GLOSS_TUNE_DATA",
        metavar="DIR",
        help="Folder of NAME/{train,val,test}.csv, looked at before any download.",
    ),
]
Artifacts = Annotated[
    Path | None,
    typer.Option(
        "--artifacts",
        envvar="GLOSS_TUNE_ARTIFACTS",
        metavar="DIR",
        help="Folder for what trials leave beside their numbers: learning curves, checkpoints, models; by default "
        "gloss-tune-artifacts, beside an SQLite storage or in the current folder.",
    ),
]
Device = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda:N|GPU-…|MIG-…", help="What to compute on.")
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        envvar="GLOSS_TUNE_THREADS",
        metavar="N",
        help="CPU threads; by default the cores are shared with the study's other workers on this machine.",
    ),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        envvar="GLOSS_TUNE_FORCE",
        callback=lambda wanted: _force(wanted),
        help="Use an SQLite storage on a file system that is not known to be local all the same; safe from one "
        "machine only.",
    ),
]
Test = Annotated[
    bool,
    typer.Option(
        "--test",
        help="Train each study's setting again, with as many seeds as its confirmation, and compare on the test "
        "documents as well. Do this once, at the end: the models are kept, and a repeat only reads their results.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TEXT",
        help="Any name for this change: a second call with the same one does nothing, so that a script may repeat it.",
    ),
]
OutputFormat = Annotated[Format, typer.Option("--format", help="How to print the data.")]


def _force(wanted: bool) -> bool:
    """Pass it on to the storage and to child processes, through the environment."""
    if wanted:
        os.environ["GLOSS_TUNE_FORCE"] = "1"
    return wanted


def emit(text: str, output: Path | None = None) -> None:
    """The data asked for, to stdout or whole to a file."""
    if output is None:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()  # whoever watches through a pipe sees it now
        return
    from gloss_tune.cli.writing import write_whole

    write_whole(output, text if text.endswith("\n") else text + "\n")


def to_json(data: Any) -> str:
    """JSON for people and scripts; a number that JSON cannot hold becomes null."""
    return json.dumps(_finite(data), indent=2, ensure_ascii=False, allow_nan=False)


def rows_to_json(rows: Iterable[Any]) -> str:
    """As :func:`to_json`, a list with one row on each line: for thousands of rows, in a third of the time."""
    return "[" + ",".join(f"\n{_line(row)}" for row in rows) + "\n]"


def _line(row: Any) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(row), ensure_ascii=False, allow_nan=False)


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
