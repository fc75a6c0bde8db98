"""Where one hyperparameter is searched. Everything that is read off a range is read here, whatever its form."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gloss_tune.finetune.config import FinetuneConfig

Value = float | int | str

#: What a table that describes a range may hold.
RANGE_KEYS = ("low", "high", "log", "step", "points", "choices", "prior", "spread")
#: Those of them that say where in the range good values are expected, see :mod:`gloss_tune.spec.prior`.
PRIOR_KEYS = ("prior", "spread")

# beyond this a whole number is no longer exact in the database's floats
_LARGEST = 2.0**53
_LISTED = 10_000
# of a step: how far from a whole number of them a value may lie by rounding
_ROUNDING = 1e-8
_FIELD_TYPES = {field.name: field.type for field in dataclasses.fields(FinetuneConfig)}


@dataclass(frozen=True)
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
        prior: where good values are expected, see :mod:`gloss_tune.spec.prior`; None for nowhere in particular.
        spread: how far from there, in decades (``log``) or shares of the range; of choices, the share of the others.
    """

    name: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    points: int = 5
    choices: tuple[Value, ...] | None = None
    prior: Value | None = None
    spread: float | None = None

    @classmethod
    def of(cls, name: str, table: Mapping[str, Any]) -> ParameterRange:
        """The range that a complete table of :data:`RANGE_KEYS` describes; :meth:`faults` says what is wrong with it.

        Raises:
            ValueError: the table has another key.
        """
        unknown = [key for key in table if key not in RANGE_KEYS]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: is unknown; known are {', '.join(RANGE_KEYS)}")
        known = dict(table)
        if isinstance(known.get("choices"), list):
            known["choices"] = tuple(known["choices"])
        return cls(name, **known)

    @property
    def is_integer(self) -> bool:
        """Whether the interval holds whole numbers only."""
        return _FIELD_TYPES[self.name] == "int"

    def faults(self) -> list[str]:
        """Everything that is wrong here, one line a fault, without the key path."""
        if self.shape_faults():
            return self.shape_faults()
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

    def shape_faults(self) -> list[str]:
        """What cannot be read as a range at all, one line a fault, opening with the key within the range's table."""
        choices: object = self.choices  # as they were given, whatever their type
        log: object = self.log
        faults = []
        if choices is not None and not isinstance(choices, tuple):
            faults.append(f"choices: must be a list, got {choices!r}")
        if not isinstance(log, bool):
            faults.append(f"log: must be true or false, got {log!r}")
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
        if steps > _LARGEST:
            return [f"'step' is too small to count the steps, got {step:g} from {low:g} to {high:g}"]
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
        if len(set(self.choices)) < len(self.choices):
            return [f"'choices' repeats a value: {list(self.choices)}"]
        return []

    def bounds(self) -> tuple[Value, ...]:
        """Values whose validity implies that of all others: the ends, or every choice."""
        if self.choices is not None:
            return self.choices
        low, high = self.ends()
        return (int(low), int(high)) if self.is_integer else (low, high)

    def highest(self) -> float:
        """The greatest number that a draw can give."""
        return max(value for value in self.bounds() if not isinstance(value, str))

    def contains(self, value: object) -> bool:
        """Whether a draw can give this value."""
        if isinstance(value, bool):
            return False
        if self.choices is not None:
            return value in self.choices
        if not isinstance(value, int | float) or not is_number(value):
            return False
        low, high = self.ends()
        step = self._step() or 0.0
        steps = (value - low) / step if step else 0.0
        return low <= value <= high and abs(steps - round(steps)) < _ROUNDING

    def nearest(self, value: float) -> Value | None:
        """The value that is nearest to a number; None where there are no numbers to choose from."""
        if self.choices is not None:
            numbers = [choice for choice in self.choices if not isinstance(choice, str)]
            return min(numbers, key=lambda choice: abs(choice - value), default=None)
        low, high = self.ends()
        step = self._step()
        inside = min(max(value, low), high)
        return self._own(inside if step is None else low + round((inside - low) / step) * step)

    def middle(self) -> Value:
        """A value such as a usual draw has: the middle one, on the range's own scale."""
        if self.choices is not None:
            return sorted(self.choices, key=lambda choice: (isinstance(choice, str), choice))[
                len(self.choices) // 2
            ]
        low, high = self.ends()
        found = self.nearest(math.sqrt(low) * math.sqrt(high) if self.log else low + (high - low) / 2)
        assert found is not None
        return found

    def grid_count(self) -> int:
        """How many values :meth:`grid` has at most, without making them."""
        if self.choices is not None:
            return len(self.choices)
        low, high = self.ends()
        count = self.points if self.step is None else round((high - low) / self.step) + 1
        return min(count, int(high - low) + 1) if self.is_integer else count

    def every_value(self) -> list[Value] | None:
        """All values that a draw can give; None if they are too many to list."""
        if self.choices is not None:
            return list(self.choices)
        low, high = self.ends()
        step = self._step()
        if step is None:
            return [low] if low == high else None
        return None if (high - low) / step > _LISTED else self._stepped(step)

    def grid(self) -> list[Value]:
        """The values of a grid over this range, at most ``points`` unless steps or choices name them."""
        if self.choices is not None:
            return list(self.choices)
        low, high = self.ends()
        if self.step is not None:
            return self._stepped(self.step)
        if self.points == 1 or low == high:
            values = [low]
        elif self.log:
            ratio = (math.log(high) - math.log(low)) / (self.points - 1)
            values = [low * math.exp(i * ratio) for i in range(self.points)]
        else:
            values = [low + i * (high - low) / (self.points - 1) for i in range(self.points)]
        if self.is_integer:
            return sorted({round(v) for v in values})
        return [self._own(v) for v in values]

    def ends(self) -> tuple[float, float]:
        """The ends of an interval."""
        assert self.low is not None and self.high is not None
        return float(self.low), float(self.high)

    def _step(self) -> float | None:
        return self.step or (1 if self.is_integer else None)

    def _stepped(self, step: float) -> list[Value]:
        low, high = self.ends()
        return [self._own(low + i * step) for i in range(round((high - low) / step) + 1)]

    def _own(self, value: float) -> Value:
        """In the hyperparameter's own type, and not outside by rounding."""
        low, high = self.ends()
        return round(value) if self.is_integer else min(max(value, low), high)

    def to_dict(self) -> dict[str, Any]:
        """Only what is set, fit for TOML and JSON."""
        said = {"prior": self.prior, "spread": self.spread}
        prior = {key: value for key, value in said.items() if value is not None}
        if self.choices is not None:
            return {"choices": list(self.choices), **prior}
        kept: dict[str, Any] = {"low": self.low, "high": self.high}
        if self.is_integer:
            kept = {key: int(value) for key, value in kept.items()}
            prior |= {"prior": int(self.prior)} if self.prior is not None else {}
        if self.log:
            kept["log"] = True
        if self.step is not None:
            kept["step"] = self.step
        if self.points != 5:
            kept["points"] = self.points
        return {**kept, **prior}


def is_number(value: object) -> bool:
    """Whether it is a finite number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -_LARGEST <= value <= _LARGEST
