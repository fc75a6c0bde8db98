"""A study as plain values, for people and scripts: ``status``, ``trials`` and ``export``. Nothing here writes.

The keys are a contract (see the README); more may be added, none is renamed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from gloss_tune.errors import GlossTuneError
from gloss_tune.study.opened import OpenStudy
from gloss_tune.study.queue import counts
from gloss_tune.study.roster import present
from gloss_tune.study.space import Value, unused_by
from gloss_tune.study.spec import StudySpec


def trial_counts(opened: OpenStudy) -> dict[str, int]:
    """``budget``, ``complete``, ``pruned``, ``failed``, ``running``, ``waiting``."""
    now = counts(opened.storage, opened.study_id)
    return {
        "budget": sum(now.values()),
        "complete": now[TrialState.COMPLETE],
        "pruned": now[TrialState.PRUNED],
        "failed": now[TrialState.FAIL],
        "running": now[TrialState.RUNNING],
        "waiting": now[TrialState.WAITING],
    }


def status(opened: OpenStudy) -> dict[str, Any]:
    """How a study stands."""
    trials = trial_counts(opened)
    best = best_trial(opened)
    unfinished = trials["running"] + trials["waiting"]
    state = "finished" if not unfinished else "running" if trials["running"] else "waiting"
    return {
        "study": opened.name,
        "storage": opened.storage.redacted_url,
        "dataset": opened.dataset["name"],
        "model": opened.spec.model,
        "loss": opened.spec.loss,
        "metric": opened.spec.metric,
        "direction": opened.spec.direction,
        "rehearsal": opened.spec.rehearse,
        "state": state,
        "trials": trials,
        "best": None if best is None else {"number": best.number, "value": best.value, "params": best.params},
        "workers": [asdict(worker) for worker in present(opened.storage, opened.study_id, opened.spec.lease)],
        "seconds_to_go": _seconds_to_go(opened, unfinished),
    }


def trials(opened: OpenStudy) -> list[dict[str, Any]]:
    """Every trial, in the order of the numbers."""
    return [_row(trial) for trial in opened.optuna_study().get_trials(deepcopy=False)]


def export(opened: OpenStudy) -> dict[str, Any]:
    """The best parameters with all that is needed to trust and to rerun them.

    Raises:
        GlossTuneError: if no trial is complete yet.
    """
    best = best_trial(opened)
    now = trial_counts(opened)
    if best is None:
        raise GlossTuneError(_nothing_to_export(opened, now))
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
            "searched": sorted(best.params),
        },
        "trials": now,
        "versions": dict(opened.versions),
        "seed": spec.seed,
    }


def hyperparameters(spec: StudySpec, params: Mapping[str, Value]) -> dict[str, Value]:
    """All hyperparameters that a trial trained with, searched and fixed, less those that its loss does not use."""
    unused = unused_by(spec.loss, spec.mode)
    return {name: value for name, value in {**spec.train, **params}.items() if name not in unused}


def best_trial(opened: OpenStudy) -> FrozenTrial | None:
    """The complete trial with the highest value; None while there is none."""
    try:
        return opened.optuna_study().best_trial
    except ValueError:
        return None


def _row(trial: FrozenTrial) -> dict[str, Any]:
    kept = trial.user_attrs
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value,
        "params": trial.params,
        "metrics": kept.get("metrics", {}),
        "epochs": kept.get("epochs", len(trial.intermediate_values)),
        "best_epoch": kept.get("best_epoch"),
        "seconds": kept.get("seconds"),
        "worker": kept.get("worker"),
        "attempts": kept.get("attempts", 0),
        "error": kept.get("error"),
    }


def _seconds_to_go(opened: OpenStudy, unfinished: int) -> float | None:
    """From the pace of the finished trials so far and the workers present; None before there is a pace."""
    if not unfinished:
        return 0.0
    finished = [t for t in opened.optuna_study().get_trials(deepcopy=False) if t.state.is_finished()]
    seconds = [float(t.user_attrs["seconds"]) for t in finished if "seconds" in t.user_attrs]
    workers = len(present(opened.storage, opened.study_id, opened.spec.lease))
    if not seconds or not workers:
        return None
    return round(sum(seconds) / len(seconds) * unfinished / min(workers, unfinished), 1)


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
