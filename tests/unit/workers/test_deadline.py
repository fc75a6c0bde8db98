"""The moments that ``--until`` takes, in the zone of whoever gives them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest

from gloss_tune.errors import InputError
from gloss_tune.workers.deadline import parse_until

# 25 November 2026, 15:00 UTC: 16:00 in Berlin, whose summer time has ended
NOW = datetime(2026, 11, 25, 15, 0, tzinfo=timezone.utc).timestamp()


@pytest.fixture(autouse=True)
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("90", 90),
        (90, 90),
        ("0", 0),
        ("1.5", 1.5),
        (" 1e3 ", 1000),
        ("16:30", 1800),
        ("16:00:10", 10),
        ("9:00", 17 * 3600),  # tomorrow
        ("16:00", 24 * 3600),
        ("2026-11-25T16:30", 1800),
        ("2026-11-25 16:30:30", 1830),
        ("2026-11-25T15:30Z", 1800),
        ("2026-11-25T15:30z", 1800),
        ("2026-11-25T17:30+02:00", 1800),
        ("2026-11-26", 8 * 3600),
    ],
)
def test_a_time_is_read_as_meant(given: str | float, seconds: float) -> None:
    assert parse_until(given, NOW) == pytest.approx(NOW + seconds)


def test_tomorrow_is_a_day_of_23_hours_where_clocks_are_set() -> None:
    evening = datetime(
        2027, 3, 27, 23, 0, tzinfo=timezone.utc
    ).timestamp()  # 0:00 of the day that loses an hour
    assert parse_until("0:00", evening) - evening == 23 * 3600


@pytest.mark.parametrize(
    "given",
    [
        "",
        "soon",
        "25:00",
        "16:61",
        "inf",
        "nan",
        "-5",
        "2026-11-25T15:00",
        "2020-01-01",
        "9999-01-01",
        "1e30",
    ],
)
def test_anything_else_is_wrong_input(given: str) -> None:
    with pytest.raises(InputError, match="--until") as caught:
        parse_until(given, NOW)
    assert given in str(caught.value)
