"""A specification's ranges in Optuna's words."""

from __future__ import annotations

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from gloss_tune.spec.ranges import ParameterRange


def distribution_of(searched: ParameterRange) -> BaseDistribution:
    """A range as an Optuna distribution."""
    if searched.choices is not None:
        return CategoricalDistribution(searched.choices)
    assert searched.low is not None and searched.high is not None
    if searched.is_integer:
        step = int(searched.step or 1)
        return IntDistribution(int(searched.low), int(searched.high), log=searched.log, step=step)
    return FloatDistribution(float(searched.low), float(searched.high), log=searched.log, step=searched.step)
