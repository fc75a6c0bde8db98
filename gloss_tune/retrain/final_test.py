"""A study's setting on the test documents: trained again with several seeds once, and from then on only read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gloss_tune.confirm.export import export
from gloss_tune.errors import InputError
from gloss_tune.finetune.model_folder import DESCRIPTION
from gloss_tune.logging import logger
from gloss_tune.retrain.retrain import RetrainOptions, retrain
from gloss_tune.signals import StopFlag
from gloss_tune.study.study import OpenStudy
from gloss_tune.wording import count

FOLDER = "final"


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
    best = export(opened)["best"]["number"]
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
