"""The authors' own training code, as they published it, on texts and an encoder of ours.

``authors_documents_per_second`` starts this module as a process of its own, because their modules have names such as
``utils`` and ``model``. That process calls *their* ``prepare_dataloaders``, ``BertClassifier`` and ``train_model``,
with the optimizer and the seeds of their ``main``, and reads the seconds of each epoch that they write to
``epoch_stats.csv``: training alone, waited for at every step by their ``.item()``, without validation or checkpoint.
Where Optuna or Matplotlib is not installed, an empty module stands in: their loop names both and uses neither here.

Their repository names no licence, so no part of it is here: get ``saditya13/G-Loss-LoG`` from GitHub, name its folder.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import logging
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.benchmarks.children import children, reply

_LOOP = "Combined with CE"
_FIGURES = 3
#: λ, visible part and σ: those of FinetuneConfig (σ² = τ)
_LAMBDA, _VISIBLE, _SIGMA = 0.7, 0.5, math.sqrt(0.1)


def authors_documents_per_second(
    folder: Path,
    texts: Sequence[str],
    labels: Sequence[int],
    num_classes: int,
    encoder_folder: Path,
    *,
    batch_size: int,
    max_length: int,
    steps: int,
    device: str,
    threads: int = 1,
    seconds: float = 600.0,
) -> list[float]:
    """Training speed of the authors' loop: integrated mode, G-Loss, as it is (float32, padded, two passes a step).

    Args:
        folder: a copy of their repository, or of its folder "Combined with CE".
        texts: at least ``steps · batch_size``, of which the first are taken.
        labels: the texts' classes.
        num_classes: how many classes the texts taken must have.
        encoder_folder: a BERT that transformers loads.
        batch_size: documents a step.
        max_length: tokens to which every document is padded.
        steps: of one figure.
        device: ``cpu``, ``cuda:0``, ….
        threads: that it may compute with on the CPU.
        seconds: after which it is given up.

    Returns:
        Documents a second, three figures; a first epoch, which warms up, is left out.

    Raises:
        ValueError: there are too few texts or classes, or their code is not in ``folder``.
        RuntimeError: their code has failed.
        TimeoutError: it has taken too long.
    """
    count = steps * batch_size
    code = folder / _LOOP if (folder / _LOOP).is_dir() else folder
    if not (code / "training.py").is_file():
        raise ValueError(
            f"The authors' code must have a file training.py, got {folder}; name their repository"
        )
    if len(texts) < count or len(set(labels[:count])) != num_classes:
        raise ValueError(
            f"{count} texts of {num_classes} classes are needed, got {min(len(texts), count)} texts of "
            f"{len(set(labels[:count]))} classes; give more texts or take fewer steps"
        )
    with tempfile.TemporaryDirectory() as scratch:
        job = Path(scratch) / "job.json"
        content = {
            "code": str(code.resolve()),
            "texts": list(texts[:count]),
            "labels": [int(label) for label in labels[:count]],
            "encoder": str(encoder_folder.resolve()),
            "batch_size": batch_size,
            "max_length": max_length,
            "device": device,
            "scratch": scratch,
        }
        job.write_text(json.dumps(content), encoding="utf-8")
        with children(__name__, job, Path(scratch), seconds=seconds, threads=threads) as (child,):
            figures: list[float] = json.loads(child.listen())
    return figures


def _train(job: dict[str, Any]) -> list[float]:
    """Documents a second of each epoch after the first."""
    sys.path.insert(0, job["code"])
    _stand_in_for("optuna", "optuna.exceptions")
    _stand_in_for("matplotlib", "matplotlib.pyplot")

    import numpy as np
    import pandas as pd
    import torch

    # theirs
    from model import BertClassifier
    from training import train_model
    from utils import compute_class_weights, prepare_dataloaders

    args = argparse.Namespace(
        max_length=job["max_length"],
        batch_size=job["batch_size"],
        nb_epochs=1 + _FIGURES,
        bert_lr=1e-5,
        bert_init=job["encoder"],
        lam=_LAMBDA,
        gamma=_VISIBLE,
        sigma=_SIGMA,
        temperature=0.1,
        loss="gloss",
        tune=True,  # as in a search: no pictures
    )
    torch.manual_seed(42)
    np.random.seed(42)
    device = torch.device(job["device"])
    train = pd.DataFrame({"text": job["texts"], "label": job["labels"]})
    # each class must occur where they evaluate, or scikit-learn warns
    val = train.groupby("label").head(2).reset_index(drop=True)
    train_loader, val_loader, _, num_labels = prepare_dataloaders(args, train, val, val)
    model = BertClassifier(pretrained_model=args.bert_init, nb_class=num_labels).to(device)
    train_model(
        args,
        model,
        train_loader,
        val_loader,
        torch.optim.Adam(model.parameters(), lr=args.bert_lr),
        compute_class_weights(train["label"]),
        num_labels,
        job["scratch"],
        logging.getLogger("authors"),
        device,
    )
    with (Path(job["scratch"]) / "epoch_stats.csv").open(newline="") as file:
        seconds = [float(row["time"]) for row in csv.DictReader(file)]
    return [len(train) / epoch for epoch in seconds[1:]]


def _stand_in_for(package: str, submodule: str) -> None:
    """Empty modules under these names where the package is not installed."""
    try:
        importlib.import_module(submodule)
    except ImportError:
        outer, inner = ModuleType(package), ModuleType(submodule)
        setattr(outer, submodule.rpartition(".")[2], inner)
        sys.modules.update({package: outer, submodule: inner})


if __name__ == "__main__":
    reply(json.dumps(_train(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
