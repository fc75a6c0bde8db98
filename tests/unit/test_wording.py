"""Sizes, durations and counts as people read them."""

from __future__ import annotations

import pytest

from gloss_tune.wording import count, duration, parse_duration, size


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9949, "9.9 kB"),
        (9950, "10 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (544_200_000, "544 MB"),
        (1_240_000_000, "1.2 GB"),
        (5_000_000_000_000_000, "5000 TB"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.00009, "less than 0.1 ms"),
        (0.0004, "0.4 ms"),
        (0.0123, "12 ms"),
        (0.0996, "0.1 s"),
        (0.25, "0.25 s"),
        (7.0, "7 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (42.4, "42 s"),
        (59.6, "1.0 min"),
        (400, "6.7 min"),
        (3600, "60 min"),
        (7170, "2.0 h"),
        (360_000, "100.0 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts() -> None:
    assert [count(number, "trial") for number in (0, 1, 2)] == ["0 trials", "1 trial", "2 trials"]
    assert [count(number, "study", "studies") for number in (1, 3)] == ["1 study", "3 studies"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (" 1H ", 3600),
        ("5min", 300),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5", "0", "1x", "h", "1m2h", "nan", "inf", "1..5h", "."])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text alone
        parse_duration(text)
