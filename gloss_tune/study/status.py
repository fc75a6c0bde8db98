"""How a study stands, as plain values: ``status`` and ``trials``. Nothing here writes.

The keys are a contract (see the README); more may be added, none is renamed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from gloss_tune.queue import budget
from gloss_tune.queue.budget import counts
from gloss_tune.queue.heartbeats import WorkerEntry, live_workers
from gloss_tune.queue.steering import read_steering
from gloss_tune.storage.retry import retried
from gloss_tune.storage.shared_storage import SharedStorage
from gloss_tune.storage.trial_rows import read_trials
from gloss_tune.storage.trial_states import Brief, reported_epochs
from gloss_tune.study.precision import study_precision, unlike
from gloss_tune.study.results import best_of, read_history, whole_trial
from gloss_tune.study.study import OpenStudy


def trial_counts(opened: OpenStudy) -> dict[str, int]:
    """``budget``, ``complete``, ``pruned``, ``failed``, ``running``, ``waiting``, less what other tools added."""
    return _named(counts(opened.storage, opened.study_id, opened.spec.trials))


def stop_reason(opened: OpenStudy) -> str | None:
    """Why no further trial of a study should start; None while all is well, or nothing is left to start."""
    spec = opened.spec
    return budget.stop_reason(opened.storage, opened.study_id, spec.max_failures, spec.max_failures_in_a_row)


def study_state(now: Mapping[str, int]) -> str:
    """``waiting``, ``running`` or ``finished``, from :func:`trial_counts`."""
    return "running" if now["running"] else "waiting" if now["waiting"] else "finished"


def why_none_begins(opened: OpenStudy) -> str | None:
    """Why no trial of a study is begun though some wait; None if nothing hinders."""
    steering = read_steering(opened.storage, opened.study_id)
    if opened.moved is not None:
        return f"the study was moved to {opened.moved['to']}"
    if steering is not None:
        return f"the study is {steering.value}; 'gloss-tune resume --study {opened.name}' undoes it"
    return stop_reason(opened)


def finished_of(now: Mapping[str, int]) -> int:
    """How many trials of :func:`trial_counts` have ended, in whatever way."""
    return now["complete"] + now["pruned"] + now["failed"]


def status(opened: OpenStudy) -> dict[str, Any]:
    """How a study stands."""
    return live_status(opened)[0]


def live_status(opened: OpenStudy) -> tuple[dict[str, Any], list[float]]:
    """:func:`status`, and the values of the finished trials that have one, by number: all of one moment."""
    history = read_history(opened)
    values = [t.value for t in history if t.value is not None and t.state.is_finished() and isfinite(t.value)]
    return _status(opened, history), values


def _status(opened: OpenStudy, history: Sequence[Brief]) -> dict[str, Any]:
    trials = count_states(history, opened.spec.trials)
    foreign = [trial.number for trial in history if trial.foreign]
    best = whole_trial(opened, best_of(history))
    workers = live_workers(opened.storage, opened.study_id, opened.spec.lease)
    unfinished = trials["running"] + trials["waiting"]
    # with nothing left to start, nothing was stopped
    stopped = stop_reason(opened) if trials["waiting"] else None
    steering = read_steering(opened.storage, opened.study_id)
    return {
        "study": opened.name,
        "storage": opened.storage.redacted_url,
        "dataset": opened.dataset["name"],
        "model": opened.spec.model,
        "loss": opened.spec.loss,
        "metric": opened.spec.metric,
        "direction": opened.spec.direction,
        "rehearsal": opened.spec.rehearse,
        "state": study_state(trials),
        "stopped": stopped,
        "steering": None if steering is None or opened.moved else steering.value,
        "trials": trials,
        "foreign": foreign,
        "best": None if best is None else {"number": best.number, "value": best.value, "params": best.params},
        "precision": _precision(opened),
        "workers": [_shown(worker) for worker in workers],
        "unlike": unlike((worker.precision, worker.device, worker.hardware) for worker in workers),
        "seconds_to_go": _seconds_to_go(history, unfinished, len(workers)),
    }


def trials(opened: OpenStudy) -> list[dict[str, Any]]:
    """Every trial, in the order of the numbers."""
    found, epochs = _listed(opened.storage, opened.study_id)
    return [_row(trial, epochs.get(trial.number, 0)) for trial in found]


def flat_trials(opened: OpenStudy) -> list[dict[str, Any]]:
    """:func:`trials`, each in columns (see :func:`flat_row`)."""
    return [flat_row(row) for row in trials(opened)]


def flat_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A trial in columns: parameters as ``params_NAME``, metrics as ``metrics_NAME``."""
    return {
        **{key: value for key, value in row.items() if key not in ("params", "metrics")},
        **{f"params_{name}": value for name, value in row["params"].items()},
        **{f"metrics_{name}": value for name, value in row["metrics"].items()},
    }


@retried
def _listed(storage: SharedStorage, study_id: int) -> tuple[list[FrozenTrial], dict[int, int]]:
    with storage.transaction() as session:
        return read_trials(session, study_id, reports=False), reported_epochs(session, study_id)


def count_states(history: Sequence[Brief], budget: int) -> dict[str, int]:
    """:func:`trial_counts` of a history that was read already.

    Args:
        budget: how many trials the study was made with or extended to.
    """
    beyond = max(0, len(history) - budget)
    foreign = [trial for trial in history if trial.foreign]
    found = Counter(trial.state for trial in history)
    found.subtract(trial.state for trial in foreign[-beyond:] if beyond)
    return _named(found)


def _named(now: Mapping[TrialState, int]) -> dict[str, int]:
    return {
        "budget": sum(now.values()),
        "complete": now[TrialState.COMPLETE],
        "pruned": now[TrialState.PRUNED],
        "failed": now[TrialState.FAIL],
        "running": now[TrialState.RUNNING],
        "waiting": now[TrialState.WAITING],
    }


def _precision(opened: OpenStudy) -> str | None:
    """What the study computes in; None where its first worker has still to settle it."""
    if opened.spec.rehearse:
        return None
    said = opened.spec.train.get("precision", "auto")
    settled = study_precision(opened) if said == "auto" else None
    return (settled.precision if settled else None) if said == "auto" else str(said)


def _shown(worker: WorkerEntry) -> dict[str, Any]:
    return {name: value for name, value in asdict(worker).items() if name != "machine"}


def _row(trial: FrozenTrial, epochs: int) -> dict[str, Any]:
    kept = trial.user_attrs
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value,
        "params": trial.params,
        "metrics": kept.get("metrics", {}),
        "epochs": kept.get("epochs", epochs),
        "best_epoch": kept.get("best_epoch"),
        "seconds": kept.get("seconds"),
        "worker": kept.get("worker"),
        "device": kept.get("device"),
        "precision": kept.get("precision"),
        "attempts": kept.get("attempts", 0),
        "error": kept.get("error"),
    }


def _seconds_to_go(history: Sequence[Brief], unfinished: int, workers: int) -> float | None:
    """From the pace of the finished trials so far and the workers present; None before there is a pace."""
    if not unfinished:
        return 0.0
    finished = [trial for trial in history if trial.state.is_finished()]
    seconds = [trial.seconds for trial in finished if trial.seconds is not None]
    if not seconds or not workers:
        return None
    return round(sum(seconds) / len(seconds) * unfinished / min(workers, unfinished), 1)
