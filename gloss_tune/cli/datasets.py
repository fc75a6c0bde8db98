"""``gloss-tune datasets``: what is known, where it is, what is in it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gloss_tune.cli.options import DataDir, Format, OutputFormat, emit, to_json
from gloss_tune.cli.tables import print_table

datasets = typer.Typer(
    help="Show and fetch data sets.", context_settings={"help_option_names": ["-h", "--help"]}
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A known name, or the path of your own files.")]


@datasets.callback(invoke_without_command=True)
def _default(context: typer.Context, data_dir: DataDir = None, format: OutputFormat = Format.table) -> None:
    if context.invoked_subcommand is None:
        list_datasets(data_dir, format)


@datasets.command("list")
def list_datasets(data_dir: DataDir = None, format: OutputFormat = Format.table) -> None:
    """List the known data sets and where each one is on this machine.

    Example: gloss-tune datasets list --data-dir DIR
    """
    from gloss_tune.data import DATASETS, locate

    rows = []
    for info in DATASETS.values():
        folder = locate(info, data_dir)
        place = str(folder) if folder else "to be downloaded" if info.files else "built from this Python"
        sizes = dict(zip(("train", "val", "test"), info.sizes or (None,) * 3, strict=True))
        rows.append(
            {
                "name": info.name,
                "description": info.description,
                **sizes,
                "classes": len(info.classes) or None,
                "place": place,
                "fingerprint": info.fingerprint,
            }
        )
    if format is Format.json:
        emit(to_json(rows))
        return
    print_table(list(rows[0]), (list(row.values()) for row in rows))


@datasets.command()
def show(
    name: Name,
    text_column: Annotated[
        str, typer.Option("--text-column", metavar="NAME", help="Column of the texts in your own files.")
    ] = "text",
    label_column: Annotated[
        str, typer.Option("--label-column", metavar="NAME", help="Column of the labels there.")
    ] = "label",
    separator: Annotated[
        str | None, typer.Option("--separator", metavar="CHARACTER", help="Between the fields of a CSV.")
    ] = None,
    no_header: Annotated[
        bool,
        typer.Option("--no-header", help="The first line of CSV or TSV is a record and names no columns."),
    ] = False,
    encoding: Annotated[
        str | None, typer.Option("--encoding", metavar="NAME", help="Encoding of the files, such as cp1252.")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Of the tenth of train held out as val.")
    ] = 0,
    data_dir: DataDir = None,
    format: OutputFormat = Format.table,
) -> None:
    """Show a data set's fingerprint, sizes and class balance, and what may be wrong with it.

    Example: gloss-tune datasets show reviews.tsv --text-column review --label-column stars
    """
    from gloss_tune.data import Layout
    from gloss_tune.data.hub_name import is_hub_name

    layout = Layout(encoding=encoding, separator=separator, header=not no_header)
    _show(
        name,
        data_dir,
        format,
        download=is_hub_name(name),
        text_column=text_column,
        label_column=label_column,
        layout=layout,
        seed=seed,
    )


@datasets.command()
def fetch(name: Name, data_dir: DataDir = None, format: OutputFormat = Format.table) -> None:
    """Download a data set unless it is on this machine, verify it, and show it.

    Example: gloss-tune datasets fetch mr
    """
    _show(name, data_dir, format, download=True)


def _show(name: str, data_dir: Any, format: Format, **how: Any) -> None:
    import numpy as np

    from gloss_tune.data import load_dataset
    from gloss_tune.data.account import account, doubts
    from gloss_tune.logging import logger

    dataset = load_dataset(name, data_dir=data_dir, **how)
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    balance = {
        split: np.bincount(part.labels, minlength=len(dataset.classes)).tolist()
        for split, part in splits.items()
        if part is not None
    }
    words = float(np.mean([len(text.split()) for text in dataset.train.texts]))
    shown: dict[str, Any] = {
        "name": dataset.name,
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
        "sizes": {split: None if part is None else len(part) for split, part in splits.items()},
        "mean_train_words": round(words, 1),
        "classes": {
            label: {split: counts[index] for split, counts in balance.items()}
            for index, label in enumerate(dataset.classes)
        },
        "columns": list(dataset.reading.columns),
        "val": "held out of train" if dataset.reading.held_out else dataset.reading.files.get("val"),
        "warnings": [*dataset.warnings, *(doubts(dataset) if dataset.reading.own else ())],
    }
    if format is Format.json:
        emit(to_json(shown))
        return
    emit(f"{dataset.name}: {account(dataset)}; {words:.0f} words a document")
    emit(f"from {dataset.source}, fingerprint {dataset.fingerprint}\n")
    print_table(["class", *balance], ([label, *row.values()] for label, row in shown["classes"].items()))
    for warning in shown["warnings"]:
        logger.warning("%s", warning)
