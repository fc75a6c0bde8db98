"""Which trials are listed, and in which order."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gloss_tune.cli.trial_filter import select
from gloss_tune.errors import InputError


def row(number: int, state: str = "complete", value: float | None = 0.5, **params: Any) -> dict[str, Any]:
    metrics = {} if value is None else {"val_accuracy": value, "learning_rate": 0.5}
    return {
        "number": number, "state": state, "value": value, "params": params, "metrics": metrics,
        "worker": f"host-{number}", "error": None,
    }  # fmt: skip


ROWS = [
    row(0, value=0.7, learning_rate=1e-4, normalization="random_walk"),
    row(1, value=0.9, learning_rate=1e-3, normalization="symmetric"),
    row(2, "fail", None, learning_rate=1e-5, normalization="authors"),
    row(3, "pruned", 0.7, learning_rate=3e-4, normalization="random_walk"),
    row(4, "waiting", None),
]


def numbers(*where: str, **how: Any) -> list[int]:
    return [found["number"] for found in select(ROWS, where, **how)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ((), [0, 1, 2, 3, 4]),
        (("state=complete",), [0, 1]),
        (("state = Complete, value > 0.8",), [1]),
        (("state=complete", "value>0.8"), [1]),
        (("state=failed",), [2]),
        (("state!=complete",), [2, 3, 4]),
        (("value>=0.7",), [0, 1, 3]),
        (("value!=0.7",), [1]),  # what has no value has no other value either
        (("params.learning_rate<2e-4",), [0, 2]),
        (("learning_rate<2e-4",), [0, 2]),  # the parameter, not the metric of that name
        (("metrics.learning_rate=0.5",), [0, 1, 3]),
        (("normalization='random_walk'",), [0, 3]),
        (("number<=1, trial!=0",), [1]),
        (("worker=host-3",), [3]),
        (("value>2",), []),
    ],
)
def test_all_conditions_hold(where: tuple[str, ...], expected: list[int]) -> None:
    assert numbers(*where) == expected


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("value", [0, 3, 1, 2, 4]),
        ("-value", [1, 0, 3, 2, 4]),
        ("-value,-number", [1, 3, 0, 4, 2]),
        ("normalization,value", [2, 0, 3, 1, 4]),
        ("-normalization,number", [1, 0, 3, 2, 4]),
        ("-number", [4, 3, 2, 1, 0]),
    ],
)
def test_order_with_missing_values_last(sort: str, expected: list[int]) -> None:
    assert numbers(sort=sort) == expected
    assert numbers(sort=sort, limit=2) == expected[:2]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("value", "NAME OPERATOR VALUE"),
        ("value>", "NAME OPERATOR VALUE"),
        ("value>0.1 or 1", "no size|NAME OPERATOR"),
        ("valeu>0.1", "did you mean value"),
        ("state>complete", "use = or !="),
        ("__class__=x", "No trial of this study has"),
        ("xyzzy=1", "known are"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_rule(where: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        numbers(where)


def test_an_unknown_name_to_sort_by_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean"):
        numbers(sort="-numbr")


def test_no_trials_meet_anything() -> None:
    assert select([], ["value>1"], "-value") == []


def test_not_a_number_is_no_value() -> None:
    rows = [row(0, value=math.nan), row(1, value=0.1)]
    assert [found["number"] for found in select(rows, ["value!=5"], "-value")] == [1]
    assert [found["number"] for found in select(rows, [], "value")] == [1, 0]


@given(st.text(max_size=20))
def test_no_text_breaks_it(text: str) -> None:
    try:
        found = select(ROWS, [text])
    except InputError:
        return
    assert all(candidate in ROWS for candidate in found)
