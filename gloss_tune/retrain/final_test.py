"""A study's setting on the test documents: trained again with several seeds once, and from then on only read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from gloss_tune.confirm.compare import Compared, read_for_comparison
from gloss_tune.confirm.export import export
from gloss_tune.errors import InputError, Interrupted, WorkLeftError
from gloss_tune.finetune.model_folder import DESCRIPTION
from gloss_tune.logging import logger
from gloss_tune.retrain.retrain import RetrainOptions, retrain
from gloss_tune.signals import StopFlag
from gloss_tune.study.study import OpenStudy
from gloss_tune.wording import count
from gloss_tune.workers.options import WorkerOptions

FOLDER = "final"
_FEWEST_SEEDS = 2


def read_with_test(
    opened: OpenStudy, options: WorkerOptions, stop: StopFlag, seeds: int | None = None
) -> Compared:
    """What a study brings to a comparison, with its results on the test documents.

    Args:
        opened: the study. One without a complete trial brings no results.
        options: where to train, and the folder for the models.
        stop: looked at after every step.
        seeds: how many; None for as many as its confirmation has.

    Raises:
        InputError: the study or the data is wrong, or there are no test documents.
        WorkLeftError: a signal came.
    """
    found = read_for_comparison(opened)
    if found.best is None:
        logger.warning("Study %s has no complete trial: it has nothing to test.", opened.name)
        return found
    try:
        tested = final_test(
            opened, options.artifacts, seeds or max(len(found.val), _FEWEST_SEEDS), stop,
            device=options.device, threads=options.threads, data_dir=options.data_dir,
        )  # fmt: skip
    except Interrupted as error:
        logger.info("%s.", error)
        raise WorkLeftError(opened.name, stop.exit_code) from None
    return replace(found, test=tested)


def final_test(
    opened: OpenStudy,
    artifacts: Path,
    seeds: int,
    stop: StopFlag,
    *,
    device: str = "auto",
    threads: int | None = None,
    data_dir: Path | None = None,
) -> dict[str, dict[int, float]]:
    """Test metrics of a study's exported setting by metric and seed.

    Args:
        opened: the study, no rehearsal.
        artifacts: the models are kept in its folder ``final``; what is there already is not trained again.
        seeds: how many; the same seeds for all studies with the same seed.
        stop: looked at after every step.

    Raises:
        InputError: the study or the data is wrong, or there are no test documents.
        Interrupted: a signal came.
        GlossTuneError: a training failed.
    """
    best = export(opened, quiet=True)["best"]["number"]
    folder = artifacts / FOLDER / f"{opened.files}-trial-{best}-seeds-{seeds}"
    if (folder / DESCRIPTION).is_file():
        found = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        logger.info(
            "Study %s: the test documents were looked at before; that result (%s) is in %s.",
            opened.name, count(seeds, "seed"), folder,
        )  # fmt: skip
    else:
        logger.info("Study %s: training its setting with %s for the test.", opened.name, count(seeds, "seed"))
        options = RetrainOptions(
            folder, seeds=seeds, max_train_docs=opened.spec.max_train_docs, device=device, threads=threads,
            data_dir=data_dir,
        )  # fmt: skip
        found = retrain(opened, options, stop)
    if found["test"] is None:
        raise InputError(
            f"The data set of study {opened.name!r} has no test documents; compare it without --test"
        )
    return _by_seed(found)


def _by_seed(description: dict[str, Any]) -> dict[str, dict[int, float]]:
    results: dict[str, dict[int, float]] = {}
    for run in description["seeds"]:
        for name, value in run["test"].items():
            if value is not None:
                results.setdefault(name, {})[run["seed"]] = value
    return results
