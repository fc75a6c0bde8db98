"""What to use of a study: the parameters of its confirmation's winner, or else of its best trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gloss_tune.confirm.confirmation import confirmation_of, confirmed_best
from gloss_tune.errors import GlossTuneError, InputError
from gloss_tune.logging import logger
from gloss_tune.storage.trial_states import Brief
from gloss_tune.study.doubts import history_doubts
from gloss_tune.study.precision import recorded_precision
from gloss_tune.study.results import best_of, complete_trial, hyperparameters, read_history, whole_trial
from gloss_tune.study.status import count_states
from gloss_tune.study.study import OpenStudy


def export(
    opened: OpenStudy, number: int | None = None, *, unconfirmed: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """The parameters to use, with all that is needed to trust and to rerun them. Says where they come from.

    Those of the confirmation's winner where there is a finished confirmation, with what it measured under
    ``confirmed``; else those of the best trial.

    Args:
        number: export this trial instead.
        unconfirmed: leave the confirmation aside.
        quiet: whether another part of the same command says where they come from.

    Raises:
        InputError: if the study is a confirmation, or has no such complete trial.
        GlossTuneError: if no trial is complete yet.
    """
    if opened.confirms is not None:
        raise InputError(
            f"Study {opened.name!r} is the confirmation of {opened.confirms['study']!r}; export that one, "
            "and the winner comes with it"
        )
    plain = unconfirmed or number is not None
    confirmed = None if plain else confirmed_best(opened)
    history = read_history(opened)
    exported = _exported(opened, history, number if confirmed is None else confirmed["number"])
    if not quiet and not plain:
        _say_source(opened, confirmed, history)
    return {**exported, "confirmed": confirmed}


def _say_source(opened: OpenStudy, confirmed: dict[str, Any] | None, history: Sequence[Brief]) -> None:
    if confirmed is not None:
        logger.info("Exported is the winner of confirmation %s. %s", confirmed["study"], confirmed["verdict"])
        if not confirmed["is_current"]:
            logger.warning(
                "Study %s has a better trial since its confirmation; 'gloss-tune confirm' adds it.",
                opened.name,
            )
    elif confirmation_of(opened) is not None:
        logger.warning(
            "The confirmation of study %s has no result yet: exported is the best trial of the search.",
            opened.name,
        )
    for doubt in history_doubts(opened, history):
        logger.warning("%s", doubt)


def exported_trial(opened: OpenStudy, number: int | None = None) -> dict[str, Any]:
    """The best parameters with all that is needed to trust and to rerun them.

    Args:
        number: of the trial to export; None for the best.

    Raises:
        InputError: if there is no complete trial of that number.
        GlossTuneError: if no trial is complete yet.
    """
    return _exported(opened, read_history(opened), number)


def _exported(opened: OpenStudy, history: Sequence[Brief], number: int | None) -> dict[str, Any]:
    best, now = whole_trial(opened, best_of(history)), count_states(history, opened.spec.trials)
    if best is None:
        raise GlossTuneError(_nothing_to_export(opened, now))
    if number is not None:
        best = complete_trial(opened, number)
    spec = opened.spec
    return {
        "study": opened.name,
        "rehearsal": spec.rehearse,
        "dataset": dict(opened.dataset),
        "model": spec.model,
        "encoder_fingerprint": opened.encoder["fingerprint"],
        "loss": spec.loss,
        "mode": spec.mode,
        "metric": spec.metric,
        "direction": spec.direction,
        "best": {
            "number": best.number,
            "value": best.value,
            "params": hyperparameters(spec, best.params),
            "metrics": best.user_attrs.get("metrics", {}),
            "epoch": best.user_attrs.get("best_epoch"),
            "precision": recorded_precision(opened, best.user_attrs),
            "searched": sorted(best.params),
        },
        "trials": now,
        "versions": dict(opened.versions),
        "seed": spec.seed,
    }


def _nothing_to_export(opened: OpenStudy, now: Mapping[str, int]) -> str:
    left = now["running"] + now["waiting"]
    if left:
        return (
            f"Study {opened.name!r} has no complete trial yet ({left} of {now['budget']} to go); "
            "run 'gloss-tune worker'"
        )
    return (
        f"Study {opened.name!r} has no complete trial: {now['pruned']} pruned, {now['failed']} failed; "
        "'gloss-tune trials' shows why"
    )
