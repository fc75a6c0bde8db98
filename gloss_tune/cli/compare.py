"""``gloss-tune compare``: several studies beside each other, and which differences are more than noise."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from gloss_tune.cli.options import (
    DEFAULT_STORAGE,
    Artifacts,
    DataDir,
    Device,
    Storage,
    Test,
    Threads,
    emit,
    to_json,
)
from gloss_tune.cli.tables import print_table
from gloss_tune.markdown import table
from gloss_tune.wording import duration, exact


class CompareFormat(str, Enum):
    """How a comparison is written."""

    table = "table"
    json = "json"
    csv = "csv"


def compare(
    studies: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STUDY...",
            help="Studies of the storage; all others are compared with the first. By default all that it holds.",
            show_default=False,
        ),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    test: Test = False,
    device: Device = "auto",
    threads: Threads = None,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
    format: Annotated[
        CompareFormat, typer.Option("--format", help="How to print the data.")
    ] = CompareFormat.table,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write to this file instead of stdout.")
    ] = None,
) -> None:
    """Compare studies by their confirmations: mean and spread over fresh seeds, and paired tests with the first one.

    A study without confirmation is listed with its single best value and tested against nothing.
    Example: gloss-tune compare mr-ce mr-gloss mr-scl
    """
    from gloss_tune.confirm.compare import compare as compare_studies
    from gloss_tune.confirm.compare import read_for_comparison
    from gloss_tune.logging import logger
    from gloss_tune.retrain.final_test import read_with_test
    from gloss_tune.signals import stop_on_signal
    from gloss_tune.study.study import open_study, searches
    from gloss_tune.workers.options import worker_options

    names = list(dict.fromkeys(studies or searches(storage)))
    opened = [open_study(storage, name, read_only=True) for name in names]
    found = [read_for_comparison(study) for study in opened]  # a wrong one is told before hours of training
    if test:
        options = worker_options(storage, artifacts, device=device, threads=threads, data_dir=data_dir)
        with stop_on_signal(last=True) as stop:
            found = [read_with_test(study, options, stop) for study in opened]
    compared = compare_studies(found)
    for group in compared["groups"]:
        for line in group["unequal"]:
            logger.warning("Not alike on %s: %s.", group["dataset"], line)
    if format is CompareFormat.json:
        emit(to_json(compared), output)
    elif format is CompareFormat.csv:
        emit(_as_csv(compared), output)
    elif output is not None:
        emit("\n\n".join(map(_as_markdown, compared["groups"])), output)
    else:
        for group in compared["groups"]:
            print_group(group)


def print_group(group: Mapping[str, Any]) -> None:
    """One data set's studies as a table, and below it what can be said of their differences."""
    columns, rows = _cells(group)
    print_table(columns, rows, title=_title(group))
    for verdict in group["verdicts"]:
        emit(verdict)
    emit("")


def _title(group: Mapping[str, Any]) -> str:
    return f"{group['dataset']}, {group['metric']}: mean ± sd over fresh seeds"


def _cells(group: Mapping[str, Any]) -> tuple[list[str], list[list[str | None]]]:
    kinds = [kind for kind in ("val", "test_accuracy", "test_macro_f1") if kind in group["studies"][0]]
    columns = ["study", "loss", "trials", "time", "search"]
    for kind in kinds:
        name = "confirmed" if kind == "val" else kind
        columns += [name, "n", "difference", "p (Holm)"]
    rows = []
    for row in group["studies"]:
        cells = [
            row["study"], row["loss"], f"{row['trials']} of {row['budget']}", duration(row["seconds"]),
            exact(row["search_value"]),
        ]  # fmt: skip
        for kind in kinds:
            own = row[kind]
            mean = None if own["mean"] is None else f"{exact(own['mean'])} ± {exact(own['sd'])}"
            difference = None if own["difference"] is None else f"{own['difference']:+.4f}"
            cells += [mean or "not confirmed", str(own["n"]), difference, _p(own["p_value"])]
        rows.append(cells)
    return columns, rows


def _p(value: float | None) -> str | None:
    return None if value is None else f"{value:.2g}"


def _as_markdown(group: Mapping[str, Any]) -> str:
    columns, rows = _cells(group)
    notes = [*group["verdicts"], *(f"Not alike: {line}." for line in group["unequal"])]
    return f"**{_title(group)}**\n\n{table(columns, rows)}\n\n" + "\n".join(f"- {note}" for note in notes)


def _as_csv(compared: Mapping[str, Any]) -> str:
    rows = []
    for group in compared["groups"]:
        for row in group["studies"]:
            flat = {"dataset": group["dataset"], "metric": group["metric"]}
            for key, value in row.items():
                if isinstance(value, dict):
                    flat.update({f"{key}_{name}": item for name, item in value.items() if name != "interval"})
                else:
                    flat[key] = value
            rows.append(flat)
    file = io.StringIO()
    names = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(file, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
