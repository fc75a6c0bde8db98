"""Candidates ranked by the mean of their runs, and what that proves, in numbers and in words."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gloss_tune.confirm.plan import Candidate
from gloss_tune.confirm.significance import (
    PairedDifference,
    as_row,
    holm,
    is_level,
    outcome,
    paired_difference,
    summary,
)
from gloss_tune.wording import count


@dataclass(frozen=True)
class Run:
    """One run of a confirmation.

    Args:
        candidate: number of the trial whose setting it has.
        seed: its seed.
        trial: its own number in the confirmation.
        state: of that trial, in lower case.
        value: what it reached; None unless complete.
    """

    candidate: int
    seed: int
    trial: int
    state: str
    value: float | None


def rank(candidates: Sequence[Candidate], runs: Sequence[Run]) -> dict[str, Any]:
    """Rank candidates, compare all of them in pairs over the seeds that both have, and say what comes of it.

    Args:
        candidates: at least one.
        runs: theirs; failed and unfinished ones have no value, and make ``n`` smaller.

    Returns:
        ``verdict``, ``within_noise`` of the first two (None where that cannot be told), and ``candidates``, the
        highest mean first: ``rank``, ``number``, ``search_value``, ``params``, ``n``, ``failed``, ``mean``, ``sd``,
        ``runs``; and against the winner ``pairs``, ``difference`` (how far it is behind) with its 95 % ``interval``,
        the ``p_single`` of this pair alone, ``p_value`` as Holm corrects it, and ``within_noise``. None stands for
        what is not there yet. Candidates with fewer than two results come last, whatever these are.
    """
    by_seed = {
        c.number: {run.seed: run.value for run in runs if run.candidate == c.number and run.value is not None}
        for c in candidates
    }
    order = sorted(candidates, key=lambda candidate: _place(candidate, by_seed))
    differences = {
        (first.number, second.number): _difference(by_seed[first.number], by_seed[second.number])
        for first, second in itertools.combinations(order, 2)
    }
    tested = {pair: d.p_value for pair, d in differences.items() if d.p_value is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    winner = order[0].number
    rows = []
    for place, candidate in enumerate(order, start=1):
        own = [run for run in runs if run.candidate == candidate.number]
        pair = (winner, candidate.number)
        rows.append(
            {
                "rank": place,
                "number": candidate.number,
                "search_value": candidate.value,
                "params": dict(candidate.params),
                **summary(list(by_seed[candidate.number].values())),
                "failed": sum(run.state == "fail" for run in own),
                **as_row(differences.get(pair, PairedDifference(0)), corrected.get(pair)),
                "runs": [{key: v for key, v in asdict(run).items() if key != "candidate"} for run in own],
            }
        )
    unfinished = sum(run.state in ("waiting", "running") for run in runs)
    return {
        "verdict": _verdict(rows, unfinished, len(runs), len(tested)),
        "within_noise": rows[1]["within_noise"] if len(rows) > 1 else None,
        "candidates": rows,
    }


def _place(candidate: Candidate, by_seed: Mapping[int, Mapping[int, float]]) -> tuple[bool, float, int]:
    values = by_seed[candidate.number].values()
    return len(values) < 2, -statistics.fmean(values) if values else math.inf, candidate.number


def _difference(first: Mapping[int, float], second: Mapping[int, float]) -> PairedDifference:
    common = [seed for seed in first if seed in second]
    return paired_difference([first[seed] for seed in common], [second[seed] for seed in common])


def _verdict(rows: Sequence[Mapping[str, Any]], unfinished: int, runs: int, tests: int) -> str:
    sentences = [_comparison(rows, tests)]
    if unfinished:
        sentences[0] = f"So far ({runs - unfinished} of {runs} runs): {sentences[0]}"
    for row in rows:
        if row["failed"]:
            sentences.append(
                f"Trial {row['number']} failed with {row['failed']} of {count(len(row['runs']), 'seed')}."
            )
    first_of_search = max(rows, key=lambda row: (row["search_value"], -row["number"]))["number"]
    if rows[0]["n"] and rows[0]["number"] != first_of_search:
        sentences.append(f"In the search trial {first_of_search} was ahead.")
    return " ".join(sentences)


def _comparison(rows: Sequence[Mapping[str, Any]], tests: int) -> str:
    winner = rows[0]
    if not winner["n"]:
        return "No run has a result."
    if len(rows) == 1:
        return f"Trial {winner['number']} is the only candidate: there is nothing to compare it with."
    second = rows[1]
    first, other = f"Trial {winner['number']}", f"trial {second['number']}"
    if second["p_value"] is None:
        return f"{first} is first, but has no two seeds in common with {other}: nothing can be told."
    if is_level(second):
        lead = f"{first} is level with {other}"
    elif second["difference"] > 0:
        lead = f"{first} is ahead of {other} by {second['difference']:.4f}"
    else:  # possible where runs failed: the means are over other seeds
        lead = f"{first} has the highest mean, but is behind {other} by {-second['difference']:.4f} on common seeds"
    return lead + outcome(second, tests)
