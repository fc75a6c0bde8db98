"""Priors: what they may be, and what is drawn from them."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from scipy.stats import truncnorm

from gloss_tune.errors import SpecError
from gloss_tune.spec.build import build_spec, lay_together
from gloss_tune.spec.layers import parse_assignments
from gloss_tune.spec.prior import draw, offset
from gloss_tune.spec.ranges import ParameterRange
from gloss_tune.spec.spec import StudySpec

RATE = {"low": 1e-6, "high": 1e-3, "log": True, "prior": 1e-4, "spread": 0.5}


def spec_of(space: dict[str, Any], **layer: Any) -> StudySpec:
    return build_spec({"dataset": "mr", "space": space}, layer)


def faults_of(space: dict[str, Any], **layer: Any) -> list[str]:
    with pytest.raises(SpecError) as refused:
        spec_of(space, **layer)
    return str(refused.value).splitlines()[1:]


def drawn_from(table: dict[str, Any], count: int = 4000, name: str = "learning_rate") -> list[Any]:
    generator = random.Random(1)
    return [draw(ParameterRange.of(name, table), generator) for _ in range(count)]


def test_a_table_with_a_prior_is_kept_whole_and_stored_so() -> None:
    spec = spec_of({"learning_rate": RATE})
    assert spec.space["learning_rate"].to_dict() == RATE
    assert StudySpec.model_validate(spec.to_dict()) == spec


def test_a_prior_alone_keeps_the_default_range_and_writes_its_spread_down() -> None:
    assignments = parse_assignments(["space.learning_rate.prior=2e-5", "space.mask_ratio.prior=0.3"])
    spec = build_spec(lay_together({"dataset": "mr"}, assignments))
    assert spec.space["learning_rate"].to_dict() == {**RATE, "prior": 2e-5}
    assert spec.space["mask_ratio"].to_dict() == {"low": 0.1, "high": 0.9, "prior": 0.3, "spread": 0.2}


def test_of_choices_one_may_be_expected() -> None:
    spec = spec_of(
        {"batch_size": {"prior": 64}, "max_length": {"choices": [64, 128], "prior": 128, "spread": 0.1}}
    )
    assert spec.space["batch_size"].to_dict() == {"choices": [32, 64, 128, 256], "prior": 64, "spread": 0.5}
    assert spec.space["max_length"].spread == 0.1
    drawn = drawn_from(spec.space["batch_size"].to_dict(), name="batch_size")
    shares = {choice: drawn.count(choice) / len(drawn) for choice in (32, 64, 128, 256)}
    assert shares[64] == pytest.approx(1 / 2, abs=0.03)
    assert all(shares[choice] == pytest.approx(1 / 6, abs=0.03) for choice in (32, 128, 256))


@pytest.mark.parametrize(
    ("name", "table", "said"),
    [
        ("learning_rate", {"prior": 1e-2}, "'prior' must be a value of the range 1e-06 to 0.001, got 0.01"),
        ("learning_rate", {"prior": "1e-4x"}, "got '1e-4x'"),
        ("learning_rate", {"prior": True}, "got True"),
        ("learning_rate", {"prior": math.inf}, "got inf"),
        ("learning_rate", {"prior": [1e-4]}, "got [0.0001]"),
        ("learning_rate", {"prior": 1e-4, "spread": 0}, "'spread' must be above 0"),
        ("learning_rate", {"prior": 1e-4, "spread": -0.5}, "in decades, got -0.5"),
        ("learning_rate", {"prior": 1e-4, "spread": "wide"}, "got 'wide'"),
        ("learning_rate", {"prior": 1e-4, "spread": True}, "got True"),
        ("learning_rate", {"spread": 0.5}, "'spread' says how sure a 'prior' is, got 0.5 alone"),
        ("lpa_iterations", {"prior": 2.5}, "1 to 50 in whole numbers, got 2.5"),
        (
            "mask_ratio",
            {"low": 0.1, "high": 0.9, "step": 0.2, "prior": 0.4},
            "0.1 to 0.9 in steps of 0.2, got 0.4",
        ),
        ("batch_size", {"prior": 65}, "must be a value of the range 32, 64, 128, 256, got 65"),
        (
            "batch_size",
            {"prior": 64, "spread": 1.5},
            "the share of all other choices, above 0 and at most 1, got 1.5",
        ),
        ("normalization", {"prior": "nonsense"}, "got 'nonsense'"),
    ],
)
def test_a_wrong_prior_is_named_with_its_path(name: str, table: dict[str, Any], said: str) -> None:
    (fault,) = faults_of({name: table})
    assert f"space.{name}: " in fault
    assert said in fault


@pytest.mark.parametrize("sampler", ["grid", "qmc"])
def test_samplers_that_lay_points_out_evenly_take_none(sampler: str) -> None:
    (fault,) = faults_of({"learning_rate": RATE}, sampler=sampler)
    assert f"space.learning_rate.prior: has no effect with sampler '{sampler}'" in fault


def test_no_priors_and_a_prior_contradict_each_other() -> None:
    (fault,) = faults_of({"learning_rate": RATE}, priors=False)
    assert "space.learning_rate.prior" in fault
    assert "--no-priors" in fault


def test_draws_are_normal_in_decades_and_cut_off_at_the_ends() -> None:
    drawn = [math.log10(rate) for rate in drawn_from(RATE)]
    assert all(-6 <= rate <= -3 for rate in drawn)
    expected = truncnorm(-4, 2, loc=-4, scale=0.5)
    assert sum(drawn) / len(drawn) == pytest.approx(expected.mean(), abs=0.03)
    for quantile in (0.1, 0.5, 0.9):
        assert sorted(drawn)[int(quantile * len(drawn))] == pytest.approx(expected.ppf(quantile), abs=0.05)


@pytest.mark.parametrize("prior", [1, 50, 7])
def test_whole_numbers_stay_whole_and_inside(prior: int) -> None:
    drawn = drawn_from(
        {"low": 1, "high": 50, "log": True, "prior": prior, "spread": 0.3}, name="lpa_iterations"
    )
    assert all(type(value) is int and 1 <= value <= 50 for value in drawn)
    assert abs(math.log10(sorted(drawn)[len(drawn) // 2] / prior)) < 0.31


def test_steps_are_kept() -> None:
    drawn = drawn_from({"low": 0.1, "high": 0.9, "step": 0.2, "prior": 0.3, "spread": 0.2}, name="mask_ratio")
    assert {round(value, 9) for value in drawn} == {0.1, 0.3, 0.5, 0.7, 0.9}
    assert drawn.count(0.3) + drawn.count(0.30000000000000004) > 0.35 * len(drawn)


@pytest.mark.parametrize("spread", [1e-9, 100.0])
def test_a_very_sure_and_a_very_unsure_prior_can_be_drawn_from(spread: float) -> None:
    drawn = [math.log10(rate) for rate in drawn_from({**RATE, "spread": spread})]
    assert min(drawn) >= -6
    assert max(drawn) <= -3
    assert max(drawn) - min(drawn) == pytest.approx(0 if spread < 1 else 3, abs=0.02)


def test_a_range_of_one_value_has_a_prior_of_one_value() -> None:
    assert set(drawn_from({"low": 1e-4, "high": 1e-4, "log": True, "prior": 1e-4}, 5)) == {1e-4}


def test_distance_from_a_prior_is_counted_in_spreads() -> None:
    assert offset(ParameterRange.of("learning_rate", RATE), 1e-5) == pytest.approx(-2)
    linear = ParameterRange.of("mask_ratio", {"low": 0.1, "high": 0.9, "prior": 0.3, "spread": 0.25})
    assert offset(linear, 0.4) == pytest.approx(0.5)
    assert offset(ParameterRange.of("batch_size", {"choices": [1, 2], "prior": 1}), 2) is None
