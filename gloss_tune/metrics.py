"""How good predictions, probabilities and embeddings are. NumPy only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: A cosine distance below this says nothing: float32 embeddings of one text may be that far apart.
_ROUNDING = 1e-12


def classification_metrics(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> dict[str, float]:
    """How good predictions are, each number as scikit-learn defines it.

    A class that was never predicted right has an F1 of 0; one that occurs neither in ``labels`` nor in ``predictions``
    is not counted.

    Args:
        labels: (N,), integers in [0, num_classes), the truth.
        predictions: (N,), integers in [0, num_classes).
        num_classes: C.

    Returns:
        ``accuracy``; ``macro_f1``, the plain mean of the classes' F1 = 2 TP / (2 TP + FP + FN); ``weighted_f1``, each
        class as often as it occurs in ``labels``; ``balanced_accuracy``, the mean recall of the classes that occur in
        ``labels``; all in [0, 1]. ``mcc``, Matthews' correlation coefficient, in [-1, 1]; 0 where all labels or all
        predictions are of one class.

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
    in_truth = np.bincount(truth, minlength=num_classes)
    in_predictions = np.bincount(predicted, minlength=num_classes)
    # 2 TP + FP + FN = times in the truth + times predicted
    f1 = 2 * true_positives / np.maximum(in_truth + in_predictions, 1)
    present = in_truth > 0
    return {
        "accuracy": float(right.mean()),
        "macro_f1": float(f1[present | (in_predictions > 0)].mean()),
        "weighted_f1": float(np.average(f1, weights=in_truth)),
        "balanced_accuracy": float((true_positives[present] / in_truth[present]).mean()),
        "mcc": _matthews(right.sum(), in_truth.astype(np.float64), in_predictions.astype(np.float64)),
    }


def _matthews(right: float, in_truth: NDArray[np.float64], in_predictions: NDArray[np.float64]) -> float:
    """Gorodkin 2004: the correlation of the two one-hot matrices, from the sums of their columns."""
    total = in_truth.sum()
    covariance = right * total - in_truth @ in_predictions
    spread = (total**2 - in_truth @ in_truth) * (total**2 - in_predictions @ in_predictions)
    return float(covariance / math.sqrt(spread)) if spread > 0 else 0.0


def macro_auc(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean over the classes of the area under the ROC curve of each against the rest, as scikit-learn defines it.

    The area is the chance that a document of the class has a higher probability of it than one of the rest, ties
    counted half, and follows from the ranks of the class's documents (Mann & Whitney 1947).

    Args:
        labels: (N,), integers in [0, C), the truth.
        probabilities: (N, C), higher where a class is more probable.

    Returns:
        In [0, 1]; NaN if a class does not occur in ``labels``, or is the only one, when it is not defined, or if a
        probability is not finite.
    """
    truth, given = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    num_classes = given.shape[1]
    if num_classes < 2 or missing_classes(truth, num_classes) or not np.isfinite(given).all():
        return math.nan
    areas = []
    for number in range(num_classes):
        own = given[truth == number, number]
        ordered = np.sort(given[:, number])
        # the mean rank of equal values, from 1
        ranks = (ordered.searchsorted(own, "left") + ordered.searchsorted(own, "right") + 1) / 2
        above = ranks.sum() - len(own) * (len(own) + 1) / 2
        areas.append(above / (len(own) * (len(truth) - len(own))))
    return float(np.mean(areas))


def missing_classes(labels: ArrayLike, num_classes: int) -> list[int]:
    """The classes in [0, num_classes) that do not occur."""
    documents = np.bincount(np.asarray(labels), minlength=num_classes)
    return [number for number in range(num_classes) if not documents[number]]


def balanced_weights(labels: ArrayLike, num_classes: int) -> NDArray[np.float64]:
    """What a document of each class must count for so that all classes count the same: N / (classes · documents).

    As scikit-learn's ``compute_class_weight("balanced")``: the weights of all documents sum to N, and only classes
    that occur are counted. One that does not occur has a weight of 1, which nothing uses.

    Args:
        labels: (N,), integers in [0, num_classes).
        num_classes: C.

    Returns:
        (C,), above 0.
    """
    documents = np.bincount(np.asarray(labels), minlength=num_classes)
    occurs = documents > 0
    return np.where(occurs, documents.sum() / (occurs.sum() * np.maximum(documents, 1)), 1.0)


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
