from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    matthews_corrcoef,
    roc_auc_score,
    silhouette_samples,
)
from sklearn.utils.class_weight import compute_class_weight

from gloss_tune.metrics import (
    balanced_weights,
    classification_metrics,
    macro_auc,
    macro_silhouette,
    missing_classes,
)


@pytest.mark.parametrize("seed", range(8))
def test_classification_agrees_with_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    # few documents of many classes: some classes occur in neither, some only in the truth or the predictions
    labels, predictions = random.integers(0, 12, size=20), random.integers(0, 12, size=20)
    predictions[:8] = labels[:8]
    metrics = classification_metrics(labels, predictions, num_classes=12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes that only the predictions have
        balanced = balanced_accuracy_score(labels, predictions)
    assert metrics == pytest.approx(
        {
            "accuracy": accuracy_score(labels, predictions),
            "macro_f1": f1_score(labels, predictions, average="macro", zero_division=0),
            "weighted_f1": f1_score(labels, predictions, average="weighted", zero_division=0),
            "balanced_accuracy": balanced,
            "mcc": matthews_corrcoef(labels, predictions),
        },
        abs=1e-12,
    )
    assert all(type(value) is float for value in metrics.values())


def test_classification_by_hand() -> None:
    # F1: class 0 2/3, class 1 4/5, class 2 never predicted: 0, class 3 occurs nowhere: not counted
    metrics = classification_metrics([0, 0, 1, 1, 2], [0, 1, 1, 1, 0], num_classes=4)
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    assert metrics["macro_f1"] == pytest.approx((1 / 2 + 4 / 5 + 0) / 3)


@pytest.mark.parametrize(("labels", "predictions"), [([0, 0], [0, 0]), ([0, 0], [0, 1]), ([0, 1], [1, 1])])
def test_one_class_has_no_correlation(labels: list[int], predictions: list[int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a single label
        oracle = matthews_corrcoef(labels, predictions)
    assert classification_metrics(labels, predictions, 3)["mcc"] == oracle == 0


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("digits", [1, 12])
def test_auc_agrees_with_scikit_learn(classes: int, digits: int) -> None:
    """With one digit, most probabilities have equals."""
    random = np.random.default_rng(classes)
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, size=60)])
    # integers below, so that rows still sum to 1 after rounding
    counts = random.multinomial(10**digits, np.full(classes, 1 / classes), size=len(labels))
    counts[np.arange(len(labels)), labels] += 10**digits // 5
    probabilities = counts / counts.sum(axis=1, keepdims=True)
    expected = (
        roc_auc_score(labels, probabilities[:, 1])
        if classes == 2
        else roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    )
    assert macro_auc(labels, probabilities) == pytest.approx(expected, abs=1e-12)


def test_auc_is_not_defined_where_a_class_does_not_occur() -> None:
    even = np.full((4, 3), 1 / 3)
    assert math.isnan(macro_auc([0, 1, 1, 0], even))
    assert macro_auc([0, 1, 2, 0], even) == pytest.approx(0.5)
    assert math.isnan(macro_auc([0, 0, 0, 0], even[:, :1]))
    even[0, 0] = math.nan
    assert math.isnan(macro_auc([0, 1, 2, 0], even))
    assert missing_classes([0, 2, 2], 4) == [1, 3]


@pytest.mark.parametrize("seed", range(4))
def test_balanced_weights_agree_with_scikit_learn(seed: int) -> None:
    labels = np.random.default_rng(seed).choice(5, size=40, p=[0.8, 0.1, 0.05, 0.05, 0.0])
    weights = balanced_weights(labels, 5)
    present = np.unique(labels)
    assert weights[present] == pytest.approx(compute_class_weight("balanced", classes=present, y=labels))
    assert weights[labels].sum() == pytest.approx(len(labels))
    assert weights[4] == 1


def test_classification_refuses_what_it_cannot_count() -> None:
    with pytest.raises(ValueError, match=r"one length above 0, got shapes \(0,\) and \(0,\)"):
        classification_metrics([], [], 2)
    with pytest.raises(ValueError, match=r"got shapes \(2,\) and \(1,\)"):
        classification_metrics([0, 1], [0], 2)
    with pytest.raises(ValueError, match=r"predictions must be in \[0, num_classes\), got 0 to 2"):
        classification_metrics([0, 1], [0, 2], 2)


def _macro_of_scikit_learn(X: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    samples = silhouette_samples(X, labels, metric="cosine")
    return float(np.mean([samples[labels == c].mean() for c in np.unique(labels)]))


@pytest.mark.parametrize("seed", range(5))
def test_silhouette_agrees_with_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.choice(6, size=80, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.05])
    labels[0] = 17  # alone in its class, and class numbers with gaps
    X = random.normal(size=(80, 10)) + 2 * random.normal(size=(18, 10))[labels]
    assert macro_silhouette(X, labels) == pytest.approx(_macro_of_scikit_learn(X, labels), abs=1e-12)
    single = macro_silhouette(X.astype(np.float32), labels)
    assert single == pytest.approx(_macro_of_scikit_learn(X, labels), abs=1e-6)


def test_silhouette_by_explicit_loops() -> None:
    random = np.random.default_rng(0)
    X, labels = random.normal(size=(12, 3)), [0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 3]
    rows = [row / math.sqrt(row @ row) for row in X]
    by_class: dict[int, list[float]] = {c: [] for c in set(labels)}
    for i, x in enumerate(rows):
        means = {}
        for c in by_class:
            distances = [1 - x @ y for j, y in enumerate(rows) if labels[j] == c and j != i]
            means[c] = sum(distances) / len(distances) if distances else None
        a = means.pop(labels[i])
        b = min(value for value in means.values() if value is not None)
        by_class[labels[i]].append(0.0 if a is None else (b - a) / max(a, b))
    expected = sum(sum(values) / len(values) for values in by_class.values()) / len(by_class)
    assert macro_silhouette(X, labels) == pytest.approx(expected, abs=1e-12)


def test_silhouette_weighs_classes_alike() -> None:
    # 98 documents in a tight class, 2 of the other as far from each other as from it
    X = np.vstack([np.tile([1.0, 0.0, 0.0], (98, 1)), [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    assert macro_silhouette(X, np.array([0] * 98 + [1, 1])) == pytest.approx((1.0 + 0.0) / 2)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("noise", [0.0, 1e-8])
def test_silhouette_of_collapsed_embeddings_is_zero(seed: int, noise: float) -> None:
    random = np.random.default_rng(seed)
    X = random.normal(size=384) + noise * random.normal(size=(50, 384))
    assert macro_silhouette(X.astype(np.float32), random.integers(0, 4, size=50)) == 0.0


def test_silhouette_of_zeros_is_zero() -> None:
    assert macro_silhouette(np.zeros((6, 2)), np.array([0, 0, 0, 1, 1, 1])) == 0.0


def test_silhouette_needs_two_classes() -> None:
    assert math.isnan(macro_silhouette(np.ones((3, 2)), np.zeros(3, dtype=np.int64)))


def test_silhouette_of_a_large_split_is_exact_and_quick() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 20, size=10_000)
    X = random.normal(size=(10_000, 32)) + random.normal(size=(20, 32))[labels]
    order = random.permutation(10_000)
    assert macro_silhouette(X[order], labels[order]) == pytest.approx(macro_silhouette(X, labels), abs=1e-12)


def test_silhouette_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(2,\)"):
        macro_silhouette(np.ones((3, 2)), [0, 1])
