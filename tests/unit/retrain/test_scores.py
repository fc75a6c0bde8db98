"""Mean, spread and each class's share against NumPy and counting by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gloss_tune.retrain.scores import by_class, finite, spread


def test_mean_and_sample_standard_deviation() -> None:
    values = [0.7, 0.75, 0.9]
    found = spread([{"a": value, "b": 1.0} for value in values])
    assert found["a"]["mean"] == pytest.approx(np.mean(values))
    assert found["a"]["sd"] == pytest.approx(np.std(values, ddof=1))
    assert found["b"] == {"mean": 1.0, "sd": 0.0}


def test_one_seed_has_no_spread_and_what_is_not_finite_no_mean() -> None:
    assert spread([{"a": 0.5}]) == {"a": {"mean": 0.5, "sd": None}}
    assert finite({"a": math.nan, "b": math.inf, "c": 0.5}) == {"a": None, "b": None, "c": 0.5}
    assert spread([{"a": 0.5}, {"a": None}]) == {"a": {"mean": None, "sd": None}}


def test_each_class_by_counting() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 0, 0])
    found = by_class(truth, predicted, ["a", "b", "c", "d"])
    assert found["confusion_matrix"] == [[2, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    first, second, third, fourth = found["per_class"]
    assert first == {"class": "a", "precision": 2 / 4, "recall": 2 / 3, "f1": 4 / 7, "documents": 3}
    assert second == {"class": "b", "precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "documents": 2}
    # predicted never, and not even there: 0 and no warning
    assert third == {"class": "c", "precision": 0.0, "recall": 0.0, "f1": 0.0, "documents": 1}
    assert fourth == {"class": "d", "precision": 0.0, "recall": 0.0, "f1": 0.0, "documents": 0}
