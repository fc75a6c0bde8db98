"""What a terminal shows of a running study."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gloss_tune.cli.live import budget_bar, frame, sparkline

NOW: dict[str, Any] = {
    "study": "mr", "dataset": "mr", "model": "all-MiniLM-L6-v2", "loss": "gloss", "metric": "val_macro_f1",
    "rehearsal": False, "state": "running", "stopped": None, "steering": None, "seconds_to_go": 840.0,
    "trials": {"budget": 30, "complete": 9, "pruned": 3, "failed": 0, "running": 2, "waiting": 16},
    "best": {"number": 4, "value": 0.80951, "params": {"mask_ratio": 0.7358, "temperature": 0.0719}},
    "workers": [
        {"id": "host-17-ab12", "device": "cuda:0", "trial": 12, "epoch": 3, "speed": 1234.5},
        {"id": "host-18-cd34", "device": "cuda:1", "trial": None, "epoch": 0, "speed": 0.0},
    ],
}  # fmt: skip


def drawn(width: int, **changes: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(frame({**NOW, **changes}, [0.5, 0.7, 0.6, 0.8095], width))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_bar_shows_what_is_done_under_way_and_to_come() -> None:
    trials = {"budget": 10, "complete": 3, "pruned": 1, "failed": 1, "running": 2, "waiting": 3}
    assert budget_bar(trials, 10) == "█████▒▒░░░"
    assert budget_bar({**trials, "running": 0, "waiting": 5}, 20) == "█" * 10 + "░" * 10


@given(st.lists(st.integers(0, 5000), min_size=5, max_size=5), st.integers(5, 100))
def test_the_bar_is_as_wide_as_asked_for(counts: list[int], width: int) -> None:
    trials = dict(zip(("complete", "pruned", "failed", "running", "waiting"), counts, strict=True))
    bar = budget_bar({**trials, "budget": sum(counts)}, width)
    assert len(bar) == width
    if sum(counts):
        assert ("░" in bar) <= (trials["waiting"] > 0)
        assert ("▒" in bar) <= (trials["running"] > 0)
        assert ("▒" in bar) >= (trials["running"] > 0 and trials["waiting"] == 0)


def test_the_line_goes_from_the_lowest_value_to_the_highest() -> None:
    assert sparkline([0.0, 0.5, 1.0], 10) == "▁▅█"
    assert sparkline([2.0, 2.0], 10) == "▄▄"
    assert sparkline([], 10) == ""
    assert sparkline([0, 1, 0, 0, 0, 0, 0, 0.5], 4) == "█▁▁▅"  # of two that share a place, the higher


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=300), st.integers(1, 80))
def test_any_values_fit_into_the_line(values: list[float], width: int) -> None:
    assert len(sparkline(values, width)) == min(len(values), width)


def test_a_frame_is_complete() -> None:
    text = "\n".join(drawn(100))
    for part in (
        "mr  running", "12 of 30", "9 complete, 3 pruned, 2 running, 16 waiting; about 14 min to go", "best 0.8095",
        "trial 4: mask_ratio=0.7358, temperature=0.0719", "▁▆▃█  0.5000 to 0.8095", "host-17-ab12", "1,234",
    ):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    name = "a-study-with-a-rather-long-name-" * 4
    lines = drawn(width, study=name)
    assert max(map(len, lines)) <= width
    assert name in "".join(lines).replace("\n", "")


def test_before_the_first_result_it_says_so() -> None:
    text = "\n".join(
        drawn(
            80, steering="paused", best=None, seconds_to_go=None, workers=[], stopped="10 failures in a row"
        )
    )
    assert "no trial is complete yet" in text
    assert "to go" not in text
    assert "stopped: 10 failures in a row" in text
    assert "paused: no trial is begun" in text
