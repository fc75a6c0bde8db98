"""Which trials to list, and in which order: ``state=complete, value>0.8`` and ``-value,number``."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gloss_tune.errors import InputError

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"\s*([\w.]+)\s*(>=|<=|!=|==?|>|<)\s*(.*?)\s*")
_NESTED = ("params", "metrics")
# what people see elsewhere, and what it is called here
_NAMES = {"trial": "number"}
_WORDS = {"failed": "fail"}

Row = dict[str, Any]


def select(
    rows: Sequence[Row], where: Sequence[str], sort: str | None = None, limit: int | None = None
) -> list[Row]:
    """Some of the trials, in some order.

    Args:
        rows: trials as :func:`gloss_tune.study.status.trials` gives them.
        where: conditions such as ``value>0.8``, several with commas between; all must hold. A trial that lacks the
            value meets none, ``!=`` included.
        sort: names with commas between, a minus before those that fall; trials that lack one come last. None for
            the order as it is.
        limit: at most so many.

    Raises:
        InputError: a condition cannot be read, a name is unknown, or a word is compared by size.
    """
    names = _names(rows)
    conditions = [_condition(part, names) for text in where for part in text.split(",") if part.strip()]
    keys = [] if sort is None else [_key(part.strip(), names) for part in sort.split(",") if part.strip()]
    found = [row for row in rows if all(holds(row) for holds in conditions)]
    found.sort(key=lambda row: [_place(_look_up(row, name), falls) for name, falls in keys])
    return found[:limit]


def _names(rows: Sequence[Row]) -> dict[str, str]:
    """What may be written → the full name; a parameter's or metric's own name where it is not taken."""
    full = dict.fromkeys(key for row in rows for key in row if key not in _NESTED)
    nested = {f"{group}.{key}": key for group in _NESTED for row in rows for key in row[group]}
    known = {name: name for name in (*full, *nested)}
    for name, short in nested.items():
        known.setdefault(short, name)
    return {**known, **{seen: name for seen, name in _NAMES.items() if name in known}}


def _condition(text: str, names: Mapping[str, str]) -> Callable[[Row], bool]:
    parsed = _CONDITION.fullmatch(text)
    if parsed is None or not parsed[3]:
        raise InputError(
            f"--where takes NAME OPERATOR VALUE, with one of {' '.join(_OPERATORS)}, got {text.strip()!r}; "
            "for example --where 'state=complete, value>0.8'"
        )
    name, sign, word = _known(parsed[1], names), parsed[2].replace("==", "="), parsed[3].strip("'\"")
    wanted = _number(word)
    compare = _OPERATORS[sign]

    def holds(row: Row) -> bool:
        value = _look_up(row, name)
        if value is None:
            return False
        if isinstance(value, int | float) and not isinstance(value, bool) and wanted is not None:
            return compare(value, wanted)
        if sign not in ("=", "!="):
            raise InputError(
                f"--where {text.strip()!r}: {name} is {value!r} in trial {row['number']}, which has no size to "
                f"compare with {word!r}; use = or !="
            )
        return compare(str(value).lower(), _WORDS.get(word.lower(), word.lower()))

    return holds


def _key(text: str, names: Mapping[str, str]) -> tuple[str, bool]:
    return _known(text.removeprefix("-"), names), text.startswith("-")


def _known(name: str, names: Mapping[str, str]) -> str:
    if name in names or not names:
        return names.get(name, name)
    close = difflib.get_close_matches(name, names, n=3)
    short = sorted(known for known in names if "." not in known)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(short)}"
    raise InputError(f"No trial of this study has {name!r}; {hint}")


def _look_up(row: Row, name: str) -> Any:
    group, _, key = name.partition(".")
    value = row[group].get(key) if key else row.get(name)
    return None if isinstance(value, float) and math.isnan(value) else value


def _place(value: Any, falls: bool) -> tuple[bool, Any]:
    """Numbers by size, words by the alphabet, nothing last."""
    if value is None:
        return True, ()
    if isinstance(value, int | float):
        return False, (0, -value if falls else value)
    codes = [ord(letter) for letter in str(value)]
    return False, (1, [-code for code in codes] + [0] if falls else [*codes, -1])


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
