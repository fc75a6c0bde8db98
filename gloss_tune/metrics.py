"""How good predictions and embeddings are. NumPy only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

#: A cosine distance below this says nothing: float32 embeddings of one text may be that far apart.
_ROUNDING = 1e-12


def classification_metrics(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> dict[str, float]:
    """Accuracy and macro-F1, as scikit-learn defines them.

    macro_f1 is the plain mean of the classes' F1 = 2 TP / (2 TP + FP + FN) over the classes that occur in
    ``labels`` or in ``predictions``: ``f1_score(labels, predictions, average="macro")``. A class that was
    never predicted right has an F1 of 0; one that occurs in neither is not counted.

    Args:
        labels: (N,), integers in [0, num_classes), the truth.
        predictions: (N,), integers in [0, num_classes).
        num_classes: C.

    Returns:
        ``accuracy`` and ``macro_f1``, each in [0, 1].

    Raises:
        ValueError: if there is no document, or the two differ in length or leave [0, num_classes).
    """
    truth, predicted = np.asarray(labels), np.asarray(predictions)
    if truth.ndim != 1 or truth.shape != predicted.shape or truth.size == 0:
        raise ValueError(
            f"labels and predictions must be two vectors of one length above 0, got shapes {truth.shape} and "
            f"{predicted.shape}; pass one prediction for each document"
        )
    for name, values in (("labels", truth), ("predictions", predicted)):
        if values.min() < 0 or values.max() >= num_classes:
            raise ValueError(
                f"{name} must be in [0, num_classes), got {values.min()} to {values.max()} with "
                f"num_classes={num_classes}; number the classes from 0"
            )
    right = truth == predicted
    true_positives = np.bincount(truth[right], minlength=num_classes)  # (C,)
    # 2 TP + FP + FN = times in the truth + times predicted
    occurrences = np.bincount(truth, minlength=num_classes) + np.bincount(predicted, minlength=num_classes)
    occurs = occurrences > 0
    f1 = 2 * true_positives[occurs] / occurrences[occurs]
    return {"accuracy": float(right.mean()), "macro_f1": float(f1.mean())}


def macro_silhouette(embeddings: ArrayLike, labels: ArrayLike) -> float:
    """Mean over the classes of the mean silhouette of their documents, with cosine distance.

    The silhouette of a document is (b - a) / max(a, b): a is its mean distance to the others of its class, b
    that to the nearest other class (Rousseeuw 1987); 0 for a document alone in its class or where a = b = 0.
    Cosine distance is linear in the L2-normalised embedding, so the mean distance to a class follows from the
    sum of its embeddings: exact, in O(N C D) rather than O(N² D), hence without a sample.

    Args:
        embeddings: (N, D), not necessarily normalised.
        labels: (N,), integers, the classes.

    Returns:
        In [-1, 1], higher is better; NaN if fewer than two classes occur, when it is not defined.

    Raises:
        ValueError: if the shapes do not fit.
    """
    X, classes = np.asarray(embeddings, dtype=np.float64), np.asarray(labels)
    if X.ndim != 2 or classes.shape != X.shape[:1]:
        raise ValueError(
            f"embeddings must be (N, D) and labels (N,), got {X.shape} and {classes.shape}; pass one row "
            "and one label for each document"
        )
    _, own, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        return math.nan
    norms = np.linalg.norm(X, axis=1, keepdims=True)
    X = X / np.where(norms > 0, norms, 1.0)
    sums = np.zeros((len(sizes), X.shape[1]))
    np.add.at(sums, own, X)

    documents = np.arange(len(X))
    total = sizes - X @ sums.T  # (N, C): distances to all of each class, summed
    to_itself = 1.0 - np.einsum("nd,nd->n", X, X)  # rounding, or 1 for an embedding of zeros
    within = (total[documents, own] - to_itself) / np.maximum(sizes[own] - 1, 1)
    mean_distance = total / sizes
    mean_distance[documents, own] = np.inf
    a, b = np.maximum(within, 0.0), np.maximum(mean_distance.min(axis=1), 0.0)  # (N,)
    larger = np.maximum(a, b)
    defined = (sizes[own] > 1) & (larger > _ROUNDING)
    silhouette = np.where(defined, (b - a) / np.where(defined, larger, 1.0), 0.0)
    return float(np.mean(np.bincount(own, weights=silhouette) / sizes))
