"""The paired comparison against SciPy's, Holm's correction by hand and by definition, and how often both err."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gloss_tune.confirm.significance import LEVEL, holm, paired_difference


@pytest.mark.parametrize("n", range(2, 11))
def test_the_paired_difference_is_that_of_scipy(n: int) -> None:
    draw = random.Random(n)
    first = [0.8 + draw.gauss(0, 0.01) for _ in range(n)]
    second = [0.797 + draw.gauss(0, 0.02) for _ in range(n)]
    expected = stats.ttest_rel(first, second)
    found = paired_difference(first, second)
    assert found.n == n
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-9)
    assert found.mean == pytest.approx(sum(first) / n - sum(second) / n)


def test_the_paired_difference_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, standard error 1/√3, t = 2√3 with 2 degrees of freedom, p = 1 − t/√(2 + t²)."""
    found = paired_difference([0.1, 0.2, 0.3], [0.0, 0.0, 0.0])
    t = 2 * 3**0.5
    assert found.p_value == pytest.approx(1 - t / (2 + t * t) ** 0.5)
    half = 4.302652729696142 * 0.1 / 3**0.5  # the t-table's 97.5 % of 2 degrees of freedom
    assert found.interval == pytest.approx((0.2 - half, 0.2 + half))


def test_pairs_matter_and_their_order_does_not() -> None:
    """Two settings that always differ by the same little are told apart, however much the seeds differ."""
    by_seed = [0.70, 0.75, 0.80, 0.85, 0.90]
    better = [value + gain for value, gain in zip(by_seed, [0.009, 0.010, 0.011, 0.010, 0.010], strict=True)]
    found = paired_difference(better, by_seed)
    assert found.p_value is not None
    assert found.p_value < 0.001 < LEVEL < stats.ttest_ind(better, by_seed).pvalue
    assert paired_difference(better[::-1], by_seed[::-1]).p_value == pytest.approx(found.p_value)
    assert paired_difference(by_seed, better).p_value == pytest.approx(found.p_value)


@pytest.mark.parametrize(("n", "p_value"), [(2, 0.5), (3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_a_difference_without_variation_counts_as_much_as_its_signs_do(n: int, p_value: float) -> None:
    found = paired_difference([0.81 + 0.1 * i for i in range(n)], [0.80 + 0.1 * i for i in range(n)])
    assert found.interval is None
    assert found.p_value == p_value
    assert found.mean == pytest.approx(0.01)


def test_the_same_results_are_no_difference() -> None:
    found = paired_difference([0.8, 0.9], [0.8, 0.9])
    assert (found.n, found.mean, found.interval, found.p_value) == (2, 0.0, None, 1.0)


def test_too_few_pairs_tell_nothing() -> None:
    one, none = paired_difference([0.9], [0.8]), paired_difference([], [])
    assert (one.n, one.mean, one.p_value) == (1, pytest.approx(0.1), None)
    assert (none.n, none.mean, none.p_value) == (0, None, None)
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([0.8, 0.9], [0.8])


def test_holm_by_hand() -> None:
    """0.005 × 4, 0.01 × 3, 0.03 × 2, and 0.04 × 1 raised to its predecessor."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_rejects_what_its_definition_rejects(p_values: list[float]) -> None:
    """Step down from the smallest: go on while p ≤ α / (hypotheses left), then stop for good."""
    corrected = holm(p_values)
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
            if p_values[index] * (len(p_values) - rank) > level:
                break
            rejected.add(index)
        assert rejected == {index for index, p in enumerate(corrected) if p <= level}


def test_equally_good_settings_are_seldom_told_apart_and_better_ones_often() -> None:
    """Any of them found beaten by the one that happened to be first: at most 5 % of studies, in the long run 3.8 %."""
    draw = random.Random(0)
    studies, wrong, found = 800, 0, 0
    for _ in range(studies):
        shared = [draw.gauss(0, 1) for _ in range(5)]
        settings = [[seed + draw.gauss(0, 1) for seed in shared] for _ in range(4)]
        wrong += first_beats_another(settings)
        settings[2] = [value + 4 for value in settings[2]]
        found += first_beats_another(settings)
    assert wrong / studies < 0.06
    assert found / studies > 0.8


def first_beats_another(settings: list[list[float]]) -> bool:
    pairs = list(itertools.combinations(sorted(settings, key=sum, reverse=True), 2))
    p_values = [paired_difference(*pair).p_value for pair in pairs]
    corrected = holm([p for p in p_values if p is not None])
    return any(p < LEVEL for pair, p in zip(pairs, corrected, strict=True) if pair[0] is pairs[0][0])
