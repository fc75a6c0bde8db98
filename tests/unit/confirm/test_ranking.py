"""Candidates ranked, compared and judged in words; means and tests recomputed with NumPy and SciPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from gloss_tune.cli.options import to_json
from gloss_tune.confirm.plan import Candidate
from gloss_tune.confirm.ranking import Run, rank

FAILED = math.nan

Results = dict[int, list[float | None]]


def ranked(results: Results, search: dict[int, float] | None = None) -> dict[str, Any]:
    """The ranking of candidates by number, each with its results by seed; None is unfinished, NaN failed."""
    candidates = [
        Candidate(number, (search or {}).get(number, 0.9 - place / 100), {"temperature": float(number)})
        for place, number in enumerate(results)
    ]
    runs = []
    for seed in range(max(map(len, results.values()))):
        for number, values in results.items():
            value = values[seed]
            state = "waiting" if value is None else "fail" if math.isnan(value) else "complete"
            runs.append(Run(number, seed, len(runs), state, value if state == "complete" else None))
    return rank(candidates, runs)


CLOSE: Results = {3: [0.80, 0.82, 0.81, 0.79, 0.80], 7: [0.81, 0.82, 0.80, 0.80, 0.82]}
APART: Results = {3: [0.70, 0.72, 0.71, 0.70, 0.69], 7: [0.81, 0.82, 0.80, 0.80, 0.82]}


def test_the_highest_mean_is_first_whatever_the_search_said() -> None:
    found = ranked(CLOSE)
    first, second = found["candidates"]
    assert (first["rank"], first["number"], second["rank"], second["number"]) == (1, 7, 2, 3)
    for row in (first, second):
        assert row["n"] == 5
        assert row["mean"] == pytest.approx(np.mean(CLOSE[row["number"]]))
        assert row["sd"] == pytest.approx(np.std(CLOSE[row["number"]], ddof=1))
        assert row["params"] == {"temperature": float(row["number"])}
    expected = stats.ttest_rel(CLOSE[7], CLOSE[3])
    assert second["difference"] == pytest.approx(0.006)
    assert second["p_value"] == second["p_single"] == pytest.approx(expected.pvalue)
    assert second["interval"] == pytest.approx(list(expected.confidence_interval(0.95)))
    assert (first["difference"], first["p_value"], first["within_noise"]) == (None, None, None)


def test_within_noise_is_said_in_words() -> None:
    found = ranked(CLOSE)
    assert found["within_noise"] is True
    low, high = stats.ttest_rel(CLOSE[7], CLOSE[3]).confidence_interval(0.95)
    assert found["verdict"] == (
        f"Trial 7 is ahead of trial 3 by 0.0060 (95 % interval {low:.4f} to {high:.4f}): "
        "within noise (p = 0.3, n = 5). In the search trial 3 was ahead."
    )


def test_beyond_noise_is_said_in_words() -> None:
    found = ranked(APART, search={3: 0.7, 7: 0.8})
    assert found["within_noise"] is False
    assert "Trial 7 is ahead of trial 3 by 0.1060" in found["verdict"]
    assert "beyond noise (p < 0.0001, n = 5)." in found["verdict"]
    assert "In the search" not in found["verdict"]


def test_all_pairs_are_corrected_together() -> None:
    results: Results = {**APART, 9: [0.79, 0.80, 0.80, 0.77, 0.79]}
    found = ranked(results)
    single = sorted(
        [(stats.ttest_rel(results[a], results[b]).pvalue, (a, b)) for a, b in ((7, 9), (7, 3), (9, 3))]
    )
    expected = {}
    highest = 0.0
    for left, (p_value, pair) in zip((3, 2, 1), single, strict=True):
        highest = max(highest, min(1.0, left * p_value))
        expected[pair] = highest
    assert [row["number"] for row in found["candidates"]] == [7, 9, 3]
    for row in found["candidates"][1:]:
        assert row["p_value"] == pytest.approx(expected[7, row["number"]])
    assert found["candidates"][2]["p_value"] > found["candidates"][2]["p_single"]
    assert "corrected for 3 comparisons" in found["verdict"]
    assert ", of this pair alone)" in found["verdict"]


def test_failed_runs_make_n_smaller_and_pairs_are_of_common_seeds() -> None:
    results: Results = {3: [0.80, FAILED, 0.81, 0.79, 0.80], 7: [0.81, 0.92, 0.80, FAILED, 0.82]}
    found = ranked(results)
    first, second = found["candidates"]
    assert (first["n"], first["failed"], second["n"], second["failed"]) == (4, 1, 4, 1)
    assert second["pairs"] == 3
    expected = stats.ttest_rel([0.81, 0.80, 0.82], [0.80, 0.81, 0.80])
    assert second["p_value"] == pytest.approx(expected.pvalue)
    assert second["difference"] == pytest.approx(0.02 / 3)
    assert "Trial 7 failed with 1 of 5 seeds. Trial 3 failed with 1 of 5 seeds." in found["verdict"]
    assert [run["state"] for run in second["runs"]] == [
        "complete",
        "fail",
        "complete",
        "complete",
        "complete",
    ]


def test_a_higher_mean_over_other_seeds_is_no_lead_on_the_common_ones() -> None:
    found = ranked({3: [0.70, 0.80, 0.81, 0.82], 7: [FAILED, 0.79, 0.80, 0.80]})
    assert "Trial 7 has the highest mean, but is behind trial 3 by 0.0133 on common seeds" in found["verdict"]


def test_one_lucky_run_does_not_win() -> None:
    found = ranked({3: [0.99, FAILED, FAILED], 7: [0.8, 0.8, 0.81], 9: [FAILED, FAILED, FAILED]})
    assert [row["number"] for row in found["candidates"]] == [7, 3, 9]
    assert found["within_noise"] is None
    assert "no two seeds in common with trial 3: nothing can be told" in found["verdict"]
    last = found["candidates"][2]
    assert (last["n"], last["mean"], last["sd"], last["failed"]) == (0, None, None, 3)


def test_results_so_far_are_told_as_such() -> None:
    found = ranked({3: [0.80, 0.81, None], 7: [0.70, 0.72, None]})
    assert found["verdict"].startswith("So far (4 of 6 runs): Trial 3 is ahead")
    assert ranked({3: [None], 7: [None]})["verdict"] == "So far (0 of 2 runs): No run has a result."


def test_a_single_candidate_has_nothing_to_be_compared_with() -> None:
    found = ranked({3: [0.80, 0.81]})
    assert found["verdict"] == "Trial 3 is the only candidate: there is nothing to compare it with."
    assert found["within_noise"] is None


def test_equal_candidates_are_in_the_order_of_their_numbers() -> None:
    found = ranked({7: [0.8, 0.9], 3: [0.8, 0.9]})
    assert [row["number"] for row in found["candidates"]] == [3, 7]
    assert found["within_noise"] is True
    assert "Trial 3 is level with trial 7: within noise (p = 1, n = 2)" in found["verdict"]


def test_a_ranking_is_json() -> None:
    assert "NaN" not in to_json(ranked({3: [0.99, FAILED, None], 7: [0.8, 0.8, 0.81]}))
