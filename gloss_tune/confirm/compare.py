"""Several studies beside each other: what each found, at what budget, and which differences are more than noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gloss_tune.confirm.confirmation import ranking
from gloss_tune.confirm.significance import (
    PairedDifference,
    as_row,
    holm,
    is_level,
    outcome,
    paired_difference,
    summary,
)
from gloss_tune.errors import InputError
from gloss_tune.queue.budget import counts
from gloss_tune.study.results import best_trial
from gloss_tune.study.status import trial_counts, trials
from gloss_tune.study.study import OpenStudy

# what must be alike for a comparison of losses to be fair, beside the data
_ALIKE = ("model", "mode", "trials", "max_train_docs", "sampler", "pruner", "seed")
_ALIKE_TRAIN = ("epochs", "patience", "batch_size", "max_length")
#: Test metrics that are compared, beside the validation metric of the studies.
TESTED = ("accuracy", "macro_f1")


@dataclass(frozen=True)
class Compared:
    """What one study brings to a comparison.

    Args:
        opened: the study.
        best: number of the trial whose setting counts: the confirmation's winner, else the search's best; None
            while no trial is complete.
        value: what that trial reached in the search.
        val: results of its confirmation by seed; empty without one.
        seconds: that all trials and runs took together.
        test: of each metric in :data:`TESTED`, results on test documents by seed; empty where nobody looked.
    """

    opened: OpenStudy
    best: int | None
    value: float | None
    val: Mapping[int, float]
    seconds: float
    test: Mapping[str, Mapping[int, float]]


def read_for_comparison(opened: OpenStudy, test: Mapping[str, Mapping[int, float]] | None = None) -> Compared:
    """Read what one study brings.

    Raises:
        InputError: it is a confirmation.
    """
    if opened.confirms is not None:
        raise InputError(
            f"Study {opened.name!r} is the confirmation of {opened.confirms['study']!r}; compare that one, "
            "its confirmation comes with it"
        )
    ranked = ranking(opened)
    best = best_trial(opened)
    number, value = (None, None) if best is None else (best.number, best.value)
    val: dict[int, float] = {}
    if ranked is not None and ranked["candidates"][0]["n"]:
        winner = ranked["candidates"][0]
        number, value = winner["number"], winner["search_value"]
        val = {run["seed"]: run["value"] for run in winner["runs"] if run["value"] is not None}
    seconds = sum(row["seconds"] or 0.0 for row in trials(opened))
    return Compared(opened, number, value, val, seconds, test or {})


def compare(studies: Sequence[Compared]) -> dict[str, Any]:
    """Compare studies of the same data and metric with the first of them.

    Returns:
        Plain values, fit for JSON: ``groups``, one for each data set and metric, with ``dataset``, ``metric``,
        ``reference`` (the study that the others are compared with), ``unequal`` (what is not alike in them, in words),
        ``studies`` and ``verdicts``. Of each study: ``study``, ``loss``, ``model``, ``trials`` (ended ones),
        ``budget``, ``seconds``, ``best``, ``search_value``; ``val`` and, where test documents were looked at,
        ``test_accuracy`` and ``test_macro_f1``, each with ``n``, ``mean``, ``sd`` and, against the reference over the
        seeds that both have, ``pairs``, ``difference``, 95 % ``interval``, ``p_single``, ``p_value`` (Holm's
        correction over the group) and ``within_noise``. None stands for what is not there.
    """
    groups: dict[tuple[str, str], list[Compared]] = {}
    for study in studies:
        data, metric = study.opened.dataset, study.opened.spec.metric
        # subsets of one data set have fingerprints of their own; their validation documents are the same
        groups.setdefault((f"{data['name']}", metric), []).append(study)
    return {"groups": [_group(dataset, metric, own) for (dataset, metric), own in groups.items()]}


def _group(dataset: str, metric: str, studies: Sequence[Compared]) -> dict[str, Any]:
    summaries = {"val": _against_first([study.val for study in studies])}
    for name in TESTED:
        if any(study.test for study in studies):
            summaries[f"test_{name}"] = _against_first([study.test.get(name, {}) for study in studies])
    rows = []
    for place, study in enumerate(studies):
        spec, now = study.opened.spec, trial_counts(study.opened)
        rows.append(
            {
                "study": study.opened.name,
                "loss": spec.loss,
                "model": spec.model,
                "trials": now["complete"] + now["pruned"] + now["failed"],
                "budget": now["budget"],
                "seconds": round(study.seconds, 1),
                "best": study.best,
                "search_value": study.value,
                **{name: found[place] for name, found in summaries.items()},
            }
        )
    return {
        "dataset": dataset,
        "metric": metric,
        "reference": studies[0].opened.name,
        "unequal": unequal(studies),
        "studies": rows,
        "verdicts": _verdicts(rows, metric, list(summaries)),
    }


def unequal(studies: Sequence[Compared]) -> list[str]:
    """What is not alike in studies that are compared, one line for each field."""
    found = []
    first = studies[0].opened
    for other in (study.opened for study in studies[1:]):
        pairs = [(name, getattr(first.spec, name), getattr(other.spec, name)) for name in _ALIKE]
        pairs += [(name, first.spec.train.get(name), other.spec.train.get(name)) for name in _ALIKE_TRAIN]
        pairs += [("training documents", first.dataset.get("n_train"), other.dataset.get("n_train"))]
        pairs += [("validation documents", first.dataset.get("n_val"), other.dataset.get("n_val"))]
        found += [
            f"{name}: {a!r} in {first.name}, {b!r} in {other.name}"
            for name, a, b in pairs
            if a != b and not (name == "max_train_docs" and first.dataset.get("n_train"))
        ]
        left = counts(other.storage, other.study_id)
        if any(not state.is_finished() and number for state, number in left.items()):
            found.append(f"{other.name} has trials to go")
    return found


def _against_first(results: Sequence[Mapping[int, float]]) -> list[dict[str, Any]]:
    differences = [PairedDifference(0)]
    for other in results[1:]:
        common = [seed for seed in other if seed in results[0]]
        differences.append(
            paired_difference([other[seed] for seed in common], [results[0][seed] for seed in common])
        )
    tested = [place for place, found in enumerate(differences) if found.p_value is not None]
    corrected = dict(zip(tested, holm([differences[place].p_value or 0.0 for place in tested]), strict=True))
    return [
        {**summary(list(own.values())), **as_row(found, corrected.get(place))}
        for place, (own, found) in enumerate(zip(results, differences, strict=True))
    ]


def _verdicts(rows: Sequence[Mapping[str, Any]], metric: str, kinds: Sequence[str]) -> list[str]:
    """In words, for each study but the first, and for validation and test documents."""
    found = []
    reference = rows[0]["study"]
    for kind in kinds:
        name = metric if kind == "val" else kind
        tests = sum(row[kind]["p_value"] is not None for row in rows)
        for row in rows[1:]:
            own = row[kind]
            if own["difference"] is None:
                if kind == "val":
                    found.append(
                        f"{row['study']} and {reference} cannot be compared yet: that needs a confirmation of both "
                        "with common seeds ('gloss-tune confirm')."
                    )
                continue
            found.append(f"{name}: {row['study']} is {_place(own)} {reference}{outcome(own, tests)}")
    return found


def _place(row: Mapping[str, Any]) -> str:
    if is_level(row):
        return "level with"
    return f"{abs(row['difference']):.4f} {'above' if row['difference'] > 0 else 'below'}"
