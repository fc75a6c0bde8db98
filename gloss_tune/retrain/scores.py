"""What a final training achieved: each seed's metrics, their mean and spread, and each class's share."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = Mapping[str, float | None]


@dataclass(frozen=True)
class SeedResult:
    """One training.

    Args:
        seed: what it was trained with.
        epoch: the best one, which the model has.
        epochs: how many were trained.
        seconds: for training and validation.
        value: the study's metric in the best epoch.
        val: all metrics of the best epoch's report; None for what is not finite.
        test: those of :data:`gloss_tune.finetune.evaluation.SCORES`; None without test documents.
    """

    seed: int
    epoch: int
    epochs: int
    seconds: float
    value: float
    val: Scores
    test: Scores | None


def finite(scores: Mapping[str, float]) -> dict[str, float | None]:
    """The scores as JSON can hold them: None for what is not finite."""
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}


def spread(results: Sequence[Scores]) -> dict[str, dict[str, float | None]]:
    """``mean`` and sample standard deviation ``sd`` of each metric over the seeds; None where there is none."""
    found: dict[str, dict[str, float | None]] = {}
    for name in results[0]:
        values = [scores[name] for scores in results]
        known = [value for value in values if value is not None]
        whole = len(known) == len(values)
        found[name] = {
            "mean": statistics.fmean(known) if whole else None,
            "sd": statistics.stdev(known) if whole and len(known) > 1 else None,
        }
    return found


def by_class(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: Sequence[str]
) -> dict[str, Any]:
    """Precision, recall and F1 of each class, and the confusion matrix, by scikit-learn.

    Args:
        labels: (N,), the truth, indices into ``classes``.
        predictions: (N,), likewise.
        classes: C names.

    Returns:
        ``per_class``: for each class ``class``, ``precision``, ``recall``, ``f1`` (0 where it is not defined) and
        ``documents``; ``confusion_matrix``: C rows of the true class with C counts of the predicted one.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    numbers = range(len(classes))
    columns = precision_recall_fscore_support(labels, predictions, labels=numbers, zero_division=0.0)
    return {
        "per_class": [
            {"class": name, "precision": precision, "recall": recall, "f1": f1, "documents": documents}
            for name, precision, recall, f1, documents in zip(
                classes, *(column.tolist() for column in columns), strict=True
            )
        ],
        "confusion_matrix": confusion_matrix(labels, predictions, labels=numbers).tolist(),
    }
