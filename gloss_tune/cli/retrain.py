"""``gloss-tune retrain``: from a study's best parameters to a model folder and its test metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gloss_tune.cli.options import (
    DEFAULT_STORAGE,
    DataDir,
    Device,
    Format,
    OutputFormat,
    Storage,
    Study,
    Threads,
    emit,
    to_json,
)
from gloss_tune.cli.tables import print_table
from gloss_tune.wording import exact

_WIDEST_MATRIX = 20


def retrain(
    output: Annotated[
        Path,
        typer.Option("--output", metavar="DIR", help="Folder to write the model to; new or empty."),
    ],
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    trial: Annotated[
        int | None,
        typer.Option("--trial", min=0, metavar="N", help="Take this complete trial's parameters."),
    ] = None,
    confirmed: Annotated[
        bool,
        typer.Option(
            "--confirmed",
            help="Insist on the winner of a finished 'confirm', which is taken anyway where there is one.",
        ),
    ] = False,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds",
            min=1,
            max=1000,
            metavar="S",
            help="Train so many times, the first time with the study's seed; the model that does best in validation "
            "is written, and the test metrics of all are told.",
        ),
    ] = 1,
    max_train_docs: Annotated[
        int | None,
        typer.Option(
            "--max-train-docs",
            min=2,
            metavar="N",
            help="Train on a stratified sample of N training documents; by default on all, also where the study's "
            "trials had a sample.",
        ),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            "--push",
            metavar="OWNER/NAME",
            help="Upload the folder to the Hugging Face Hub; whether you may is asked before training.",
        ),
    ] = None,
    private: Annotated[
        bool,
        typer.Option("--private/--public", help="With --push: who sees a new repository there."),
    ] = True,
    device: Device = "auto",
    threads: Threads = None,
    data_dir: DataDir = None,
    format: OutputFormat = Format.table,
) -> None:
    """Train with the parameters that 'export' gives, measure on the test documents, and write the model to a folder.

    The folder loads with SentenceTransformer(DIR); 'gloss-tune predict' classifies with it. A Ctrl-C writes nothing.
    Example: gloss-tune retrain --output model --seeds 3
    """
    from gloss_tune.errors import Interrupted
    from gloss_tune.logging import logger
    from gloss_tune.retrain.retrain import RetrainOptions
    from gloss_tune.retrain.retrain import retrain as train
    from gloss_tune.signals import stop_on_signal
    from gloss_tune.study.study import open_study

    options = RetrainOptions(
        output,
        trial,
        confirmed,
        seeds,
        max_train_docs,
        device=device,
        threads=threads,
        data_dir=data_dir,
        push=push,
        private=private,
    )
    with stop_on_signal(last=True) as stop:
        opened = open_study(storage, study, read_only=True)
        try:
            result = train(opened, options, stop)
        except Interrupted as error:
            logger.info("%s.", error)
            raise typer.Exit(stop.exit_code) from None
        logger.info("The model is in %s; next: 'gloss-tune predict --model %s FILE'.", output, output)
        emit(to_json(result)) if format is Format.json else _print(result)


def _print(result: dict[str, Any]) -> None:
    dataset, over = result["dataset"], result["over_seeds"]
    trained = f"{dataset['n_train']:,}"
    if dataset["n_train"] != dataset["n_train_of"]:
        trained += f" of {dataset['n_train_of']:,}"
    columns = ["seed", "epoch", result["metric"]]
    rows = [[r["seed"], r["epoch"], exact(r["value"])] for r in result["seeds"]]
    spreads = [over["val"][result["metric"]]]
    if result["test"] is not None:
        names = list(result["test"])
        columns += [f"test_{name}" for name in names]
        for row, seed in zip(rows, result["seeds"], strict=True):
            row += [exact(seed["test"][name]) for name in names]
        spreads += [over["test"][name] for name in names]
    if over["n"] > 1:
        columns.append("written")
        for row, seed in zip(rows, result["seeds"], strict=True):
            row.append("yes" if seed["saved"] else "")
        rows.append(["mean ± sd", None, *(f"{exact(s['mean'])} ± {exact(s['sd'])}" for s in spreads), ""])
    title = (
        f"Trial {result['trial']} of study {result['study']}, trained on {trained} documents of "
        f"{dataset['name']}, tested on {dataset['n_test']:,}"
    )
    print_table(columns, rows, title=title)
    if result["per_class"] is None:
        return
    emit("")
    print_table(
        ["class", "precision", "recall", "f1", "documents"],
        [
            [row["class"], *(exact(row[key]) for key in ("precision", "recall", "f1")), row["documents"]]
            for row in result["per_class"]
        ],
        title="Each class of the test documents",
    )
    classes = result["classes"]
    if len(classes) <= _WIDEST_MATRIX:
        emit("")
        print_table(
            ["true \\ predicted", *classes],
            [[name, *row] for name, row in zip(classes, result["confusion_matrix"], strict=True)],
            title="Confusion matrix",
        )
