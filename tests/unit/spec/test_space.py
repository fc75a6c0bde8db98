"""Ranges as distributions and as grids."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from gloss_tune.finetune.config import FinetuneConfig
from gloss_tune.spec.build import build_spec
from gloss_tune.spec.ranges import ParameterRange
from gloss_tune.spec.space import DEFAULT_RANGES, grid_points
from gloss_tune.study.distributions import distribution_of


@pytest.mark.parametrize(
    ("searched", "distribution"),
    [
        (ParameterRange("temperature", 0.1, 1), FloatDistribution(0.1, 1.0)),
        (ParameterRange("temperature", 0.1, 1, log=True), FloatDistribution(0.1, 1.0, log=True)),
        (ParameterRange("mask_ratio", 0.1, 0.9, step=0.2), FloatDistribution(0.1, 0.9, step=0.2)),
        (ParameterRange("lpa_iterations", 1, 9), IntDistribution(1, 9)),
        (ParameterRange("lpa_iterations", 1.0, 9.0, step=4.0), IntDistribution(1, 9, step=4)),
        (ParameterRange("epochs", 2, 8, log=True), IntDistribution(2, 8, log=True)),
        (ParameterRange("batch_size", choices=(32, 8)), CategoricalDistribution((32, 8))),
        (ParameterRange("normalization", choices=("symmetric",)), CategoricalDistribution(("symmetric",))),
    ],
)
def test_a_range_is_an_optuna_distribution(searched: ParameterRange, distribution: BaseDistribution) -> None:
    assert searched.faults() == []
    assert distribution_of(searched) == distribution


@pytest.mark.parametrize("name", DEFAULT_RANGES)
def test_every_default_range_is_sound_and_fits_its_hyperparameter(name: str) -> None:
    searched = ParameterRange.of(name, DEFAULT_RANGES[name])
    assert searched.faults() == []
    for value in [*searched.bounds(), *searched.grid()]:
        assert FinetuneConfig(**{name: value}).faults() == []


@pytest.mark.parametrize(
    ("searched", "grid"),
    [
        (ParameterRange("mask_ratio", 0.1, 0.9), [0.1, 0.3, 0.5, 0.7, 0.9]),
        (ParameterRange("mask_ratio", 0.1, 0.9, points=2), [0.1, 0.9]),
        (ParameterRange("mask_ratio", 0.1, 0.9, points=1), [0.1]),
        (ParameterRange("mask_ratio", 0.4, 0.4), [0.4]),
        (ParameterRange("mask_ratio", 0.1, 0.9, step=0.4), [0.1, 0.5, 0.9]),
        (ParameterRange("mask_ratio", 0.1, 0.7, step=0.1), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
        (ParameterRange("temperature", 0.01, 1.0, log=True, points=3), [0.01, 0.1, 1.0]),
        (ParameterRange("lpa_iterations", 1, 3), [1, 2, 3]),
        (ParameterRange("lpa_iterations", 1, 100, log=True, points=3), [1, 10, 100]),
        (ParameterRange("lpa_iterations", 2, 10, step=4), [2, 6, 10]),
        (ParameterRange("batch_size", choices=(64, 16)), [64, 16]),
    ],
)
def test_grid_values(searched: ParameterRange, grid: list[Any]) -> None:
    assert searched.grid() == pytest.approx(grid)
    assert {type(v) for v in searched.grid()} == {int if searched.is_integer else float}


@pytest.mark.parametrize("name", DEFAULT_RANGES)
@pytest.mark.parametrize("points", [1, 2, 5, 17])
def test_grid_values_lie_within_the_distribution_and_never_repeat(name: str, points: int) -> None:
    searched = ParameterRange.of(
        name, {**DEFAULT_RANGES[name], **({} if "choices" in DEFAULT_RANGES[name] else {"points": points})}
    )
    distribution = distribution_of(searched)
    grid = searched.grid()
    assert len(grid) == len(set(grid))
    for value in grid:
        assert distribution._contains(distribution.to_internal_repr(value))


def test_grid_points_are_all_combinations_in_a_seeded_order() -> None:
    space = [ParameterRange("mask_ratio", 0.1, 0.9, points=3), ParameterRange("batch_size", choices=(8, 16))]
    points = grid_points(space, seed=3)
    expected = {(m, b) for m, b in itertools.product(space[0].grid(), (8, 16))}
    assert len(points) == 6
    assert {(p["mask_ratio"], p["batch_size"]) for p in points} == expected
    assert points == grid_points(space, seed=3)
    assert points != grid_points(space, seed=4)


def test_bounds_are_of_the_hyperparameters_own_type() -> None:
    assert [type(v) for v in ParameterRange("epochs", 1.0, 4.0).bounds()] == [int, int]
    assert [type(v) for v in ParameterRange("temperature", 1, 2).bounds()] == [float, float]


def test_a_range_survives_its_table() -> None:
    for name, table in DEFAULT_RANGES.items():
        searched = ParameterRange.of(name, table)
        assert ParameterRange.of(name, searched.to_dict()) == searched
    stepped = ParameterRange("mask_ratio", 0.1, 0.5, step=0.2, points=7)
    assert ParameterRange.of("mask_ratio", stepped.to_dict()) == stepped


@pytest.mark.parametrize("step", [0.3, 0.25, 0.1])
def test_a_step_that_does_not_divide_its_range_says_nothing_in_each_worker(step: float) -> None:
    """Warnings are errors here: the range is refused, or its end is moved once, at creation."""
    from gloss_tune.errors import SpecError

    try:
        spec = build_spec({"dataset": "mr", "space": {"mask_ratio": {"step": step}}})
    except SpecError:
        return
    (searched,) = (r for r in spec.ranges if r.name == "mask_ratio")
    distribution = distribution_of(searched)
    assert isinstance(distribution, FloatDistribution)
    assert math.isclose(distribution.high, searched.grid()[-1])


@pytest.mark.parametrize(
    ("searched", "inside", "outside"),
    [
        (
            ParameterRange("mask_ratio", 0.1, 0.7, step=0.2),
            [0.1, 0.3, 0.5, 0.7],
            [0.2, 0.8, True, "0.3"],
        ),
        (ParameterRange("lpa_iterations", 1, 9, step=4), [1, 5.0, 9], [2, 13, 5.5, math.nan]),
        (ParameterRange("epochs", 1, 9), [1, 2, 9], [0, 10, 2.5]),
        (ParameterRange("batch_size", choices=(1, 32)), [1, 32], [True, 16, "32"]),
        (ParameterRange("normalization", choices=("authors",)), ["authors"], ["symmetric", 1]),
    ],
)
def test_a_range_contains_what_a_draw_can_give(
    searched: ParameterRange, inside: list[Any], outside: list[Any]
) -> None:
    assert [value for value in inside if not searched.contains(value)] == []
    assert [value for value in outside if searched.contains(value)] == []


@pytest.mark.parametrize(
    ("searched", "asked", "nearest"),
    [
        (ParameterRange("mask_ratio", 0.1, 0.7, step=0.2), 0.44, 0.5),
        (ParameterRange("mask_ratio", 0.1, 0.7), 0.9, 0.7),
        (ParameterRange("lpa_iterations", 1, 9, step=4), 6.6, 5),
        (ParameterRange("temperature", choices=(0.1, 1.0, 0.5)), 0.44, 0.5),
        (ParameterRange("normalization", choices=("authors",)), 0.44, None),
    ],
)
def test_the_nearest_value_is_one_that_the_range_contains(
    searched: ParameterRange, asked: float, nearest: Any
) -> None:
    found = searched.nearest(asked)
    assert found == (None if nearest is None else pytest.approx(nearest))
    assert found is None or searched.contains(found)


@pytest.mark.parametrize(
    ("searched", "middle", "highest"),
    [
        (ParameterRange("epochs", choices=(4, 1, 2)), 2, 4),
        (ParameterRange("temperature", 0.01, 1.0, log=True), 0.1, 1.0),
        (ParameterRange("mask_ratio", 0.1, 0.9), 0.5, 0.9),
        (ParameterRange("lpa_iterations", 1, 9, step=4), 5, 9),
    ],
)
def test_the_middle_and_the_highest_value(searched: ParameterRange, middle: float, highest: float) -> None:
    assert searched.middle() == pytest.approx(middle)
    assert searched.highest() == highest
    assert searched.contains(searched.middle())
