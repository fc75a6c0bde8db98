"""A study as plain values, for people and scripts: ``status``, ``trials`` and ``export``. Nothing here writes.

The keys are a contract (see the README); more may be added, none is renamed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from gloss_tune.errors import GlossTuneError
from gloss_tune.study.budget import counts, stop_reason
from gloss_tune.study.opened import OpenStudy
from gloss_tune.study.roster import WorkerEntry, present
from gloss_tune.study.space import Value, unused_by
from gloss_tune.study.spec import StudySpec


def trial_counts(opened: OpenStudy) -> dict[str, int]:
    """``budget``, ``complete``, ``pruned``, ``failed``, ``running``, ``waiting``."""
    return _named(counts(opened.storage, opened.study_id))


def finished_of(now: Mapping[str, int]) -> int:
    """How many trials of :func:`trial_counts` have ended, in whatever way."""
    return now["complete"] + now["pruned"] + now["failed"]


def status(opened: OpenStudy) -> dict[str, Any]:
    """How a study stands."""
    history = _history(opened)  # once, so that all figures are of one moment
    trials = _counted(history)
    best = _best(history)
    workers = present(opened.storage, opened.study_id, opened.spec.lease)
    unfinished = trials["running"] + trials["waiting"]
    # with nothing left to start, nothing was stopped
    stopped = stop_reason(opened.storage, opened.study_id, opened.spec) if trials["waiting"] else None
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
        "stopped": stopped,
        "trials": trials,
        "best": None if best is None else {"number": best.number, "value": best.value, "params": best.params},
        "workers": [_shown(worker) for worker in workers],
        "seconds_to_go": _seconds_to_go(history, unfinished, len(workers)),
    }


def trials(opened: OpenStudy) -> list[dict[str, Any]]:
    """Every trial, in the order of the numbers."""
    return [_row(trial) for trial in _history(opened)]


def export(opened: OpenStudy) -> dict[str, Any]:
    """The best parameters with all that is needed to trust and to rerun them.

    Raises:
        GlossTuneError: if no trial is complete yet.
    """
    history = _history(opened)
    best, now = _best(history), _counted(history)
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
    """The complete trial with the highest value, of equal ones the earlier; None while there is none."""
    return _best(_history(opened))


def _history(opened: OpenStudy) -> list[FrozenTrial]:
    return opened.optuna_study().get_trials(deepcopy=False)


def _best(history: Sequence[FrozenTrial]) -> FrozenTrial | None:
    complete = [trial for trial in history if trial.state == TrialState.COMPLETE]
    return max(complete, key=lambda trial: (trial.values[0], -trial.number), default=None)


def _counted(history: Sequence[FrozenTrial]) -> dict[str, int]:
    return _named(Counter(trial.state for trial in history))


def _named(now: Mapping[TrialState, int]) -> dict[str, int]:
    return {
        "budget": sum(now.values()),
        "complete": now[TrialState.COMPLETE],
        "pruned": now[TrialState.PRUNED],
        "failed": now[TrialState.FAIL],
        "running": now[TrialState.RUNNING],
        "waiting": now[TrialState.WAITING],
    }


def _shown(worker: WorkerEntry) -> dict[str, Any]:
    return {name: value for name, value in asdict(worker).items() if name != "machine"}


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


def _seconds_to_go(history: Sequence[FrozenTrial], unfinished: int, workers: int) -> float | None:
    """From the pace of the finished trials so far and the workers present; None before there is a pace."""
    if not unfinished:
        return 0.0
    finished = [trial for trial in history if trial.state.is_finished()]
    seconds = [float(trial.user_attrs["seconds"]) for trial in finished if "seconds" in trial.user_attrs]
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
