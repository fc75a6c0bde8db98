"""The search space: which hyperparameters a study searches, where, and how a trial draws from it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from gloss_tune.finetune.config import NORMALIZATIONS, PROPAGATIONS, FinetuneConfig

Value = float | int | str

#: Searchable hyperparameters and where to look for them unless the user says otherwise. The first four are the
#: default space; temperatures from 1 up flatten the graph (reference: G-Loss, section 3.2), so 2 is far enough.
DEFAULT_RANGES: dict[str, dict[str, Any]] = {
    "mask_ratio": {"low": 0.1, "high": 0.9},
    "lpa_iterations": {"low": 1, "high": 50, "log": True},
    "temperature": {"low": 0.01, "high": 2.0, "log": True},
    "learning_rate": {"low": 1e-6, "high": 1e-3, "log": True},
    "head_learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
    "gloss_weight": {"low": 0.1, "high": 0.9},
    "margin": {"low": 0.1, "high": 1.0},
    "weight_decay": {"low": 1e-4, "high": 0.3, "log": True},
    "warmup_ratio": {"low": 0.0, "high": 0.3},
    "clip_norm": {"low": 0.1, "high": 10.0, "log": True},
    "batch_size": {"choices": [32, 64, 128, 256]},
    "max_length": {"choices": [64, 128, 256]},
    "epochs": {"low": 1, "high": 20},
    "normalization": {"choices": list(NORMALIZATIONS)},
    "propagation": {"choices": list(PROPAGATIONS)},
}

#: Where the runs of a confirmation have their seeds (:mod:`gloss_tune.confirm.confirmation`); no study searches them.
SEED_RANGE: dict[str, Any] = {"low": 0, "high": 2**31 - 1}

# beyond this a whole number is no longer exact in the database's floats
_LARGEST = 2.0**53
_LISTED = 10_000
_GRAPH_ONLY = frozenset({"mask_ratio", "lpa_iterations", "normalization", "propagation"})
_DEFAULT_SPACE = {
    "gloss": ("mask_ratio", "lpa_iterations", "temperature", "learning_rate"),
    "scl": ("temperature", "learning_rate"),
    "triplet": ("margin", "learning_rate"),
    "cosine": ("margin", "learning_rate"),
    "ce": ("learning_rate",),
}
_FIELD_TYPES = {field.name: field.type for field in dataclasses.fields(FinetuneConfig)}


def default_space(loss: str, fixed: Mapping[str, object]) -> tuple[str, ...]:
    """Names of the hyperparameters searched when the user names none, less those in ``fixed``."""
    names = _DEFAULT_SPACE.get(loss, ())
    closed_form = fixed.get("propagation") == "closed_form"
    return tuple(n for n in names if n not in fixed and not (closed_form and n == "lpa_iterations"))


def unused_by(loss: str, mode: str) -> frozenset[str]:
    """Hyperparameters that change nothing under this loss and mode."""
    unused: set[str] = set()
    if loss != "gloss":
        unused |= _GRAPH_ONLY
    if loss not in ("gloss", "scl"):
        unused.add("temperature")
    if loss not in ("triplet", "cosine"):
        unused.add("margin")
    if loss == "ce" or mode == "standalone":
        unused.add("gloss_weight")
    if mode == "standalone":
        unused.add("head_learning_rate")
    return frozenset(unused)


@dataclasses.dataclass(frozen=True)
class ParameterRange:
    """Where one hyperparameter is searched: an interval, or a list of choices.

    Args:
        name: a field of :class:`FinetuneConfig`.
        low: lower end of the interval, included; None with ``choices``.
        high: upper end, included.
        log: draw evenly in the logarithm.
        step: draw multiples of this from ``low``; None for any value (integers: 1).
        points: how many values a grid takes from a continuous interval.
        choices: the values to choose from, instead of an interval.
    """

    name: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    points: int = 5
    choices: tuple[Value, ...] | None = None

    @property
    def is_integer(self) -> bool:
        """Whether the interval holds whole numbers only."""
        return _FIELD_TYPES[self.name] == "int"

    def faults(self) -> list[str]:
        """Everything that is wrong here, one line a fault, without the key path."""
        if self.choices is not None:
            return self._choice_faults()
        if not is_number(self.low) or not is_number(self.high):
            return [f"needs numbers 'low' and 'high', or 'choices', got low={self.low!r}, high={self.high!r}"]
        assert self.low is not None and self.high is not None
        faults = []
        if _FIELD_TYPES[self.name] == "str":
            faults.append("is a name, not a number: give 'choices'")
        if self.low > self.high:
            faults.append(f"'low' must not be above 'high', got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            faults.append(f"'log' needs 'low' above 0, got {self.low:g}")
        if self.is_integer and (self.low % 1 or self.high % 1):
            faults.append(f"must be searched in whole numbers, got low={self.low:g}, high={self.high:g}")
        if self.step is not None:
            faults.extend(self._step_faults(self.low, self.high))
        if not isinstance(self.points, int) or isinstance(self.points, bool) or not 1 <= self.points <= 1000:
            faults.append(f"'points' must be a whole number from 1 to 1000, got {self.points!r}")
        return faults

    def _step_faults(self, low: float, high: float) -> list[str]:
        step = self.step
        if not is_number(step) or step is None or step <= 0:
            return [f"'step' must be a number above 0, got {step!r}"]
        if self.log:
            return ["'step' and 'log' exclude each other: drop one"]
        if self.is_integer and step % 1:
            return [f"must be searched in whole numbers, got step={step:g}"]
        steps = (high - low) / step
        if abs(steps - round(steps)) > 1e-9 * max(1.0, steps):
            return [
                f"'high' must lie a whole number of steps above 'low', got {low:g}, {high:g} and step {step:g}"
            ]
        return []

    def _choice_faults(self) -> list[str]:
        assert self.choices is not None
        if not self.choices:
            return ["'choices' is empty: name at least one value"]
        if not all(isinstance(choice, bool | int | float | str) for choice in self.choices):
            return [f"'choices' must be numbers or names, got {list(self.choices)}"]
        if len({(type(c), c) for c in self.choices}) < len(self.choices):
            return [f"'choices' repeats a value: {list(self.choices)}"]
        return []

    def bounds(self) -> tuple[Value, ...]:
        """Values whose validity implies that of all others: the ends, or every choice."""
        if self.choices is not None:
            return self.choices
        assert self.low is not None and self.high is not None
        return (int(self.low), int(self.high)) if self.is_integer else (float(self.low), float(self.high))

    def grid_count(self) -> int:
        """How many values :meth:`grid` has at most, without making them."""
        if self.choices is not None:
            return len(self.choices)
        assert self.low is not None and self.high is not None
        steps = self.points if self.step is None else round((self.high - self.low) / self.step) + 1
        return min(steps, int(self.high - self.low) + 1) if self.is_integer else steps

    def every_value(self) -> list[Value] | None:
        """All values that a draw can give; None if they are too many to list."""
        if self.choices is not None:
            return list(self.choices)
        assert self.low is not None and self.high is not None
        step = self.step or (1 if self.is_integer else None)
        if step is None or (self.high - self.low) / step > _LISTED:
            return None if step is not None or self.low < self.high else [self.low]
        count = round((self.high - self.low) / step) + 1
        if self.is_integer:
            return [int(self.low) + i * int(step) for i in range(count)]
        return [self.low + i * step for i in range(count)]

    def grid(self) -> list[Value]:
        """The values of a grid over this range, at most ``points`` unless steps or choices name them."""
        if self.choices is not None:
            return list(self.choices)
        assert self.low is not None and self.high is not None
        if self.step is not None:
            values = [self.low + i * self.step for i in range(round((self.high - self.low) / self.step) + 1)]
        elif self.points == 1 or self.low == self.high:
            values = [self.low]
        elif self.log:
            ratio = math.log(self.high / self.low) / (self.points - 1)
            values = [self.low * math.exp(i * ratio) for i in range(self.points)]
        else:
            values = [self.low + i * (self.high - self.low) / (self.points - 1) for i in range(self.points)]
        if self.is_integer:
            return sorted({round(v) for v in values})
        return [min(max(v, self.low), self.high) for v in values]

    def to_dict(self) -> dict[str, Any]:
        """Only what is set, fit for TOML and JSON."""
        if self.choices is not None:
            return {"choices": list(self.choices)}
        kept: dict[str, Any] = {"low": self.low, "high": self.high}
        if self.is_integer:
            kept = {key: int(value) for key, value in kept.items()}
        if self.log:
            kept["log"] = True
        if self.step is not None:
            kept["step"] = self.step
        if self.points != 5:
            kept["points"] = self.points
        return kept


def grid_size(space: Sequence[ParameterRange]) -> int:
    """How many points :func:`grid_points` has; exact where they are few enough to be made."""
    most = math.prod(searched.grid_count() for searched in space)
    return most if most > 100 * _LISTED else math.prod(len(searched.grid()) for searched in space)


def space_size(space: Sequence[ParameterRange]) -> int | None:
    """How many points a finite space has; None if it has infinitely many, or more than could be listed."""
    values = [searched.every_value() for searched in space]
    listed = [v for v in values if v is not None]
    return math.prod(map(len, listed)) if len(listed) == len(values) else None


def grid_points(space: Sequence[ParameterRange], seed: int) -> list[dict[str, Value]]:
    """Every combination of the ranges' grid values, in an order drawn with ``seed``."""
    names = [r.name for r in space]
    points = [
        dict(zip(names, values, strict=True)) for values in itertools.product(*(r.grid() for r in space))
    ]
    random.Random(seed).shuffle(points)
    return points


def is_number(value: object) -> bool:
    """Whether it is a finite number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -_LARGEST <= value <= _LARGEST
