"""Where good values of a hyperparameter are expected within its range, and what is drawn from that.

In an interval the prior is a normal distribution around the expected value, cut off at the ends: in decades where the
range is searched in the logarithm, else in shares of the range. Of choices, one is expected and the others share the
rest evenly.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import NormalDist

from gloss_tune.spec.ranges import ParameterRange, Value, is_number

#: Of an interval in decades, of one in shares of the range, and of choices the share of all others.
DEFAULT_SPREADS = {"log": 0.5, "linear": 0.2, "choices": 0.5}
_WIDEST = 100.0


def has_prior(ranges: Sequence[ParameterRange]) -> bool:
    """Whether any of them has one."""
    return any(searched.prior is not None for searched in ranges)


def default_spread(searched: ParameterRange) -> float:
    """How sure a prior is whose spread nobody gave."""
    kind = "choices" if searched.choices is not None else "log" if searched.log else "linear"
    return DEFAULT_SPREADS[kind]


def prior_faults(searched: ParameterRange) -> list[str]:
    """Everything that is wrong with the prior of a range that is sound otherwise, one line a fault."""
    prior, spread = searched.prior, searched.spread
    if prior is None:
        return (
            []
            if spread is None
            else [f"'spread' says how sure a 'prior' is, got {spread!r} alone; give both"]
        )
    faults = []
    if not searched.contains(prior):
        faults.append(f"'prior' must be a value of the range {_shown(searched)}, got {prior!r}")
    if spread is not None:
        most = 1.0 if searched.choices is not None else _WIDEST
        unit = (
            "the share of all other choices, above 0 and at most 1"
            if searched.choices is not None
            else f"above 0 and at most {most:g}, in {'decades' if searched.log else 'shares of the range'}"
        )
        if not is_number(spread) or not 0 < spread <= most:
            faults.append(f"'spread' must be {unit}, got {spread!r}")
    return faults


def draw(searched: ParameterRange, generator: random.Random) -> Value:
    """A value drawn from a range's prior.

    Args:
        searched: a range with a prior.
        generator: where chance comes from; one number is taken.
    """
    prior, spread, chance = searched.prior, searched.spread, generator.random()
    assert prior is not None
    spread = default_spread(searched) if spread is None else spread
    if searched.choices is not None:
        others = [choice for choice in searched.choices if choice != prior]
        if chance >= spread or not others:
            return prior
        return others[min(int(chance / spread * len(others)), len(others) - 1)]
    assert not isinstance(prior, str)
    low, high, centre = (_scaled(searched, float(end)) for end in (*searched.ends(), prior))
    width = spread if searched.log else spread * (high - low)
    if high <= low:
        return prior
    normal = NormalDist(centre, width)
    below, above = normal.cdf(low), normal.cdf(high)
    drawn = normal.inv_cdf(min(max(below + chance * (above - below), 1e-12), 1 - 1e-12))
    found = searched.nearest(10**drawn if searched.log else drawn)
    assert found is not None
    return found


def offset(searched: ParameterRange, value: Value) -> float | None:
    """How far from its prior a value lies, in spreads; None where that has no meaning."""
    prior = searched.prior
    if prior is None or searched.choices is not None or isinstance(value, str) or isinstance(prior, str):
        return None
    low, high = searched.ends()
    spread = default_spread(searched) if searched.spread is None else searched.spread
    width = spread if searched.log else spread * (high - low)
    return (_scaled(searched, float(value)) - _scaled(searched, float(prior))) / width if width else None


def _scaled(searched: ParameterRange, value: float) -> float:
    return math.log10(value) if searched.log else value


def _shown(searched: ParameterRange) -> str:
    if searched.choices is not None:
        return ", ".join(map(str, searched.choices))
    low, high = searched.ends()
    step = f" in steps of {searched.step:g}" if searched.step is not None else ""
    whole = " in whole numbers" if searched.is_integer and not step else ""
    return f"{low:g} to {high:g}{step}{whole}"
