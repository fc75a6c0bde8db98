"""``gloss-tune paper``: the G-Loss paper's protocol, as small or as large as wanted, beside the published numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gloss_tune.cli import spec_options
from gloss_tune.cli.compare import Test
from gloss_tune.cli.launch import Devices, PerDevice, Workers
from gloss_tune.cli.options import (
    DEFAULT_STORAGE,
    Artifacts,
    DataDir,
    Force,
    Format,
    OutputFormat,
    Storage,
    Threads,
    emit,
    to_json,
)
from gloss_tune.cli.tables import print_table
from gloss_tune.cli.worker import Grace, Track, worker_options
from gloss_tune.launch.group import group, work_to_end
from gloss_tune.wording import count

if TYPE_CHECKING:
    from gloss_tune.paper.cells import Cell
    from gloss_tune.signals import StopFlag
    from gloss_tune.study.study import OpenStudy

_DATASETS, _LOSSES, _ENCODERS = "mr,r8,r52,20ng,ohsumed", "ce,scl,gloss", "bert-base-uncased"


def paper(
    storage: Storage = DEFAULT_STORAGE,
    datasets: Annotated[
        str, typer.Option("--datasets", metavar="NAME,…", help="Data sets, with commas between.")
    ] = _DATASETS,
    losses: Annotated[
        str, typer.Option("--losses", metavar="NAME,…", help="Losses; all are compared with the first.")
    ] = _LOSSES,
    encoders: Annotated[
        str, typer.Option("--encoders", metavar="NAME,…", help="Encoders: Hub names or folders.")
    ] = _ENCODERS,
    modes: Annotated[
        str, typer.Option("--modes", metavar="NAME,…", help="integrated, standalone, or both.")
    ] = "integrated",
    trials: spec_options.Trials = None,
    epochs: spec_options.Epochs = None,
    batch_size: spec_options.BatchSize = None,
    max_length: spec_options.MaxLength = None,
    max_train_docs: spec_options.MaxTrainDocs = None,
    seed: spec_options.Seed = None,
    pruner: spec_options.Pruner = None,
    rehearse: spec_options.Rehearse = False,
    lease: spec_options.Lease = None,
    top: Annotated[
        int, typer.Option("--top", min=1, metavar="K", help="Confirm the K best settings of each study.")
    ] = 1,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds", min=2, metavar="S", help="Confirm with S fresh seeds each, the same for all."
        ),
    ] = 3,
    test: Test = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print which studies there would be, and write nothing.")
    ] = False,
    workers: Workers = None,
    per_device: PerDevice = None,
    device: Devices = "auto",
    threads: Threads = None,
    grace: Grace = 5.0,
    track: Track = None,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
    force: Force = False,
    format: OutputFormat = Format.table,
) -> None:
    """Run the paper's protocol: a study for each data set, encoder and loss at equal budgets, each confirmed.

    Every step goes on where it stood: after a stop, the same command finishes what is left, and workers started
    elsewhere help. The specifications are studies/paper/*.toml; options make all of them smaller or larger.
    Example: gloss-tune paper --datasets mr,r8 --encoders all-MiniLM-L6-v2 --trials 6 --epochs 3 --max-train-docs 512
    """
    from gloss_tune.launch.density import parse_per_device
    from gloss_tune.logging import logger
    from gloss_tune.paper.cells import plan
    from gloss_tune.signals import stop_on_signal

    top_level = {
        "trials": trials, "max_train_docs": max_train_docs, "seed": seed, "pruner": pruner, "lease": lease,
        "rehearse": rehearse or None,
    }  # fmt: skip
    train = {"epochs": epochs, "batch_size": batch_size, "max_length": max_length}
    overrides: dict[str, Any] = {key: value for key, value in top_level.items() if value is not None}
    overrides["train"] = {key: value for key, value in train.items() if value is not None}
    cells = plan(_listed(datasets), _listed(losses), _listed(encoders), _listed(modes), overrides)
    if dry_run:
        _print_plan(cells, top, seeds)
        return
    each = parse_per_device(per_device, workers)
    options = worker_options(storage, artifacts, threads=threads, data_dir=data_dir, grace=grace, track=track)
    with stop_on_signal(last=True) as stop:
        devices, density = group(device, workers, each, rehearse, threads)

        def work(opened: OpenStudy) -> None:
            code = work_to_end(opened, storage, options, devices, density, stop)
            if code:
                raise typer.Exit(code)

        _create_all(cells, storage, data_dir)  # at once: a wrong one is told before hours of work
        for number, cell in enumerate(cells, start=1):
            logger.info("Study %d of %d: %s.", number, len(cells), cell.name)
            _run_cell(cell, storage, top, seeds, work)
        results = _results(cells, storage, options, seeds, test, stop)
    emit(to_json(results)) if format is Format.json else _print(results, cells)


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _print_plan(cells: Sequence[Cell], top: int, seeds: int) -> None:
    rows = [
        [
            cell.name,
            cell.spec.trials,
            cell.spec.train.get("epochs"),
            cell.spec.max_train_docs or "all",
            top * seeds,
        ]
        for cell in cells
    ]
    print_table(["study", "trials", "epochs at most", "documents", "confirming runs"], rows)
    trainings = sum(cell.spec.trials + top * seeds for cell in cells)
    emit(f"{count(len(cells), 'study', 'studies')}, {count(trainings, 'training')}; nothing was written.")


def _create_all(cells: Sequence[Cell], storage: str, data_dir: Any) -> None:
    from gloss_tune.study.create import create

    for cell in cells:
        opened = create(cell.spec, storage, cell.name, data_dir=data_dir).study
        opened.storage.remove_session()
        opened.storage.engine.dispose()


def _run_cell(cell: Cell, storage: str, top: int, seeds: int, work: Any) -> None:
    from gloss_tune.confirm.confirmation import confirm
    from gloss_tune.logging import logger
    from gloss_tune.study.results import best_trial
    from gloss_tune.study.status import trial_counts
    from gloss_tune.study.study import open_study

    def left(study: OpenStudy) -> bool:
        now = trial_counts(study)
        return bool(now["waiting"] or now["running"])

    opened = open_study(storage, cell.name)
    if left(opened):
        work(opened)
    if best_trial(opened) is None:
        logger.warning("Study %s has no complete trial: it has nothing to confirm.", cell.name)
        return
    confirmation = confirm(opened, top, seeds).study
    if left(confirmation):
        work(confirmation)


def _results(
    cells: Sequence[Cell], storage: str, options: Any, seeds: int, test: bool, stop: StopFlag
) -> dict[str, Any]:
    """Each cell's numbers beside the published ones, and what the comparisons with the first loss say."""
    from gloss_tune.confirm.compare import compare, read_for_comparison
    from gloss_tune.retrain.final_test import final_test
    from gloss_tune.study.study import open_study

    families: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        families.setdefault((cell.mode, cell.encoder, cell.dataset), []).append(cell)
    found, verdicts = [], []
    for own in families.values():
        studies = []
        for cell in own:
            opened = open_study(storage, cell.name, read_only=True)
            study = read_for_comparison(opened)
            if test and study.best is not None:
                tested = final_test(
                    opened, options.artifacts, seeds, stop,
                    device=options.device, threads=options.threads, data_dir=options.data_dir,
                )  # fmt: skip
                study = read_for_comparison(opened, tested)
            studies.append(study)
        (group_found,) = compare(studies)["groups"]
        verdicts += group_found["verdicts"]
        for cell, row in zip(own, group_found["studies"], strict=True):
            known = cell.published
            found.append(
                {
                    "dataset": cell.dataset, "encoder": cell.encoder, "mode": cell.mode, **row,
                    "published": None if known is None else {"mean": known[0], "sd": known[1]},
                }
            )  # fmt: skip
    return {"metric": cells[0].spec.metric, "cells": found, "verdicts": verdicts}


def _print(results: Mapping[str, Any], cells: Sequence[Cell]) -> None:
    tested = any("test_accuracy" in cell for cell in results["cells"])
    kind = "test_accuracy" if tested else "val"
    name = "test accuracy" if tested else f"validation ({results['metric']})"
    datasets = list(dict.fromkeys(cell["dataset"] for cell in results["cells"]))
    for mode in dict.fromkeys(cell["mode"] for cell in results["cells"]):
        own = [cell for cell in results["cells"] if cell["mode"] == mode]
        rows = []
        for encoder, loss in dict.fromkeys((cell["encoder"], cell["loss"]) for cell in own):
            of_row = {c["dataset"]: c for c in own if (c["encoder"], c["loss"]) == (encoder, loss)}
            rows.append([encoder, loss, "measured", *(_measured(of_row.get(d), kind) for d in datasets)])
            rows.append(["", "", "published", *(_published(of_row.get(d)) for d in datasets)])
        title = f"{mode}: {name} in percent, mean ± sd (n seeds); published: test accuracy over 3 seeds"
        print_table(["encoder", "loss", "", *datasets], rows, title=title)
        emit("")
    for verdict in results["verdicts"]:
        emit(verdict)
    for line in _deviations(cells, tested):
        emit(line)


def _measured(cell: Mapping[str, Any] | None, kind: str) -> str | None:
    if cell is None or kind not in cell or cell[kind]["mean"] is None:
        return None
    own = cell[kind]
    spread = "" if own["sd"] is None else f" ± {100 * own['sd']:.2f}"
    return f"{100 * own['mean']:.2f}{spread} ({own['n']})"


def _published(cell: Mapping[str, Any] | None) -> str | None:
    if cell is None or cell["published"] is None:
        return None
    mean, sd = cell["published"]["mean"], cell["published"]["sd"]
    return f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f}"


def _deviations(cells: Sequence[Cell], tested: bool) -> list[str]:
    """In what this run is not the paper's protocol."""
    from gloss_tune.paper.cells import plan

    first = cells[0]
    (whole,) = plan([first.dataset], [first.loss], [first.encoder], [first.mode], {})
    found = []
    if not tested:
        found.append("measured is on validation documents, published on test documents (--test)")
    if first.spec.rehearse:
        found.append("the trials were simulated: the numbers mean nothing")
    if first.spec.max_train_docs is not None:
        found.append(f"{first.spec.max_train_docs} training documents instead of all")
    if first.spec.trials != whole.spec.trials:
        found.append(f"{first.spec.trials} trials instead of {whole.spec.trials}")
    found += [
        f"{name} {first.spec.train[name]} instead of {whole.spec.train[name]}"
        for name in ("epochs", "batch_size", "max_length")
        if first.spec.train.get(name) != whole.spec.train.get(name)
    ]
    return [f"Not the paper's protocol: {'; '.join(found)}."] if found else []
