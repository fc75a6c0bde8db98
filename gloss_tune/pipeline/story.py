"""What tuning has gained over the customary setting, and whether that is more than luck: in one sentence."""

from __future__ import annotations

from typing import Any

from gloss_tune.confirm.confirmation import ranking
from gloss_tune.errors import InputError
from gloss_tune.study.doubts import history_doubts
from gloss_tune.study.results import best_of, complete_trial, read_history, whole_trial
from gloss_tune.study.study import OpenStudy

#: The first trial of a study that begins with it.
CUSTOMARY_TRIAL = 0


def begins_with_customary(opened: OpenStudy) -> bool:
    """Whether the study's first trial is the customary setting."""
    return opened.spec.first_trials[:1] == ("customary",)


def gain(opened: OpenStudy) -> str:
    """What tuning gained, in words; of a study that does not begin with the customary setting, its best value.

    Where the best value itself is in doubt, that is all there is to say.
    """
    history, metric = read_history(opened), opened.spec.metric
    best = whole_trial(opened, best_of(history))
    if best is None or best.value is None:
        return "No trial is complete: nothing can be said."
    doubted = history_doubts(opened, history)
    if doubted:
        return " ".join(doubted)
    if not begins_with_customary(opened):
        return f"The best {metric} in the search is {best.value:.4f}, in trial {best.number}."
    ranked = ranking(opened)
    rows = [] if ranked is None or ranked["state"] != "finished" else ranked["candidates"]
    customary = next((row for row in rows if row["number"] == CUSTOMARY_TRIAL and row["n"]), None)
    if customary is None or not rows[0]["n"]:
        return _unconfirmed(opened, best.number, best.value)
    winner = rows[0]
    if winner is customary:
        return (
            f"Tuning gained nothing over the customary setting: over {winner['n']} fresh seeds that is the best of "
            f"{len(rows)} ({metric} {winner['mean']:.4f})."
        )
    return f"Tuning gained {_compared(winner, customary, metric)}"


def _compared(winner: dict[str, Any], customary: dict[str, Any], metric: str) -> str:
    text = (
        f"{winner['mean'] - customary['mean']:+.4f} {metric} over the customary setting, {winner['mean']:.4f} against "
        f"{customary['mean']:.4f} over {winner['n']} fresh seeds"
    )
    if customary["p_value"] is None:
        return f"{text}: too few seeds to tell it from luck."
    outcome = "which is within noise" if customary["within_noise"] else "more than noise"
    return f"{text}, {outcome} (p = {customary['p_value']:.2g})."


def _unconfirmed(opened: OpenStudy, number: int, value: float) -> str:
    metric = opened.spec.metric
    if number == CUSTOMARY_TRIAL:
        return f"The search found nothing better than the customary setting ({metric} {value:.4f})."
    try:
        customary = complete_trial(opened, CUSTOMARY_TRIAL).value
    except InputError:
        customary = None
    against = "" if customary is None else f" against the customary setting's {customary:.4f}"
    return f"In the search, {metric} {value:.4f}{against}; not confirmed with fresh seeds, so it may be luck."
