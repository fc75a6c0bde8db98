"""The paper's protocol run from end to end: every study made, searched, confirmed and, on demand, tested."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gloss_tune.confirm.compare import compare, read_for_comparison
from gloss_tune.confirm.confirmation import confirm
from gloss_tune.launch.group import Group, finish_study
from gloss_tune.logging import logger
from gloss_tune.paper.cells import Cell, plan
from gloss_tune.retrain.final_test import read_with_test
from gloss_tune.signals import StopFlag
from gloss_tune.study.create import create
from gloss_tune.study.results import best_trial
from gloss_tune.study.study import open_study
from gloss_tune.workers.options import WorkerOptions


def run_protocol(
    cells: Sequence[Cell],
    storage: str,
    options: WorkerOptions,
    group: Group,
    stop: StopFlag,
    *,
    top: int = 1,
    seeds: int = 3,
    test: bool = False,
) -> dict[str, Any]:
    """Run all studies; each step goes on where it stood.

    Args:
        cells: the studies, in the order in which they run.
        storage: the database.
        options: of each worker.
        group: the workers.
        stop: set by signals.
        top: how many of each study's best settings are confirmed.
        seeds: how many fresh seeds each.
        test: whether to look at the test documents.

    Returns:
        ``metric``, ``cells`` (each with its numbers and the published one) and ``verdicts`` in words.

    Raises:
        InputError: a specification, data set or encoder is wrong; no trial ran.
        WorkLeftError: the workers left before the end.
    """
    create_all(cells, storage, options.data_dir)  # at once: a wrong one is told before hours of work
    for number, cell in enumerate(cells, start=1):
        logger.info("Study %d of %d: %s.", number, len(cells), cell.name)
        _run_cell(cell, storage, options, group, stop, top, seeds)
    return _results(cells, storage, options, stop, seeds, test)


def create_all(cells: Sequence[Cell], storage: str, data_dir: Path | None) -> None:
    """Make the studies, or find them as they were made before."""
    for cell in cells:
        opened = create(cell.spec, storage, cell.name, data_dir=data_dir).study
        opened.storage.remove_session()
        opened.storage.engine.dispose()


def deviations(cells: Sequence[Cell], tested: bool) -> list[str]:
    """In what this run is not the paper's protocol, in words."""
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


def _run_cell(
    cell: Cell, storage: str, options: WorkerOptions, group: Group, stop: StopFlag, top: int, seeds: int
) -> None:
    opened = open_study(storage, cell.name)
    finish_study(opened, storage, options, group, stop)
    if best_trial(opened) is None:
        logger.warning("Study %s has no complete trial: it has nothing to confirm.", cell.name)
        return
    finish_study(confirm(opened, top, seeds).study, storage, options, group, stop)


def _results(
    cells: Sequence[Cell], storage: str, options: WorkerOptions, stop: StopFlag, seeds: int, test: bool
) -> dict[str, Any]:
    """Each cell's numbers beside the published ones, and what the comparisons with the first loss say."""
    families: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        families.setdefault((cell.mode, cell.encoder, cell.dataset), []).append(cell)
    found: list[dict[str, Any]] = []
    verdicts: list[str] = []
    for own in families.values():
        studies = [
            read_with_test(opened, options, stop, seeds) if test else read_for_comparison(opened)
            for opened in (open_study(storage, cell.name, read_only=True) for cell in own)
        ]
        (compared,) = compare(studies)["groups"]
        verdicts += compared["verdicts"]
        for cell, row in zip(own, compared["studies"], strict=True):
            known = cell.published
            found.append(
                {
                    "dataset": cell.dataset, "encoder": cell.encoder, "mode": cell.mode, **row,
                    "published": None if known is None else {"mean": known[0], "sd": known[1]},
                }
            )  # fmt: skip
    return {"metric": cells[0].spec.metric, "cells": found, "verdicts": verdicts}
