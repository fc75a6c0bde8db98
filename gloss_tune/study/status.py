"""A study as plain values, for people and scripts: ``status``, ``trials`` and ``export``. Nothing here writes.

The keys are a contract (see the README); more may be added, none is renamed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from gloss_tune.errors import GlossTuneError, InputError
from gloss_tune.queue.budget import counts, stop_reason
from gloss_tune.queue.heartbeats import WorkerEntry, present
from gloss_tune.spec.space import Value, unused_by
from gloss_tune.spec.spec import StudySpec
from gloss_tune.storage.retry import patient
from gloss_tune.storage.shared_storage import SharedStorage
from gloss_tune.storage.trial_rows import Brief, read_briefly, read_trials, reported_epochs
from gloss_tune.study.study import OpenStudy


def trial_counts(opened: OpenStudy) -> dict[str, int]:
    """``budget``, ``complete``, ``pruned``, ``failed``, ``running``, ``waiting``."""
    return _named(counts(opened.storage, opened.study_id))


def finished_of(now: Mapping[str, int]) -> int:
    """How many trials of :func:`trial_counts` have ended, in whatever way."""
    return now["complete"] + now["pruned"] + now["failed"]


def status(opened: OpenStudy) -> dict[str, Any]:
    """How a study stands."""
    return live_status(opened)[0]


def live_status(opened: OpenStudy) -> tuple[dict[str, Any], list[float]]:
    """:func:`status`, and the values of the finished trials that have one, by number: all of one moment."""
    history = _history(opened)
    values = [t.value for t in history if t.value is not None and t.state.is_finished() and isfinite(t.value)]
    return _status(opened, history), values


def _status(opened: OpenStudy, history: Sequence[Brief]) -> dict[str, Any]:
    trials = _counted(history)
    best = _whole(opened, _best(history))
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
    found, epochs = _listed(opened.storage, opened.study_id)
    return [_row(trial, epochs.get(trial.number, 0)) for trial in found]


@patient
def _listed(storage: SharedStorage, study_id: int) -> tuple[list[FrozenTrial], dict[int, int]]:
    with storage.transaction() as session:
        return read_trials(session, study_id, reports=False), reported_epochs(session, study_id)


def export(opened: OpenStudy, number: int | None = None) -> dict[str, Any]:
    """The best parameters with all that is needed to trust and to rerun them.

    Args:
        number: of the trial to export; None for the best.

    Raises:
        InputError: if there is no complete trial of that number.
        GlossTuneError: if no trial is complete yet.
    """
    history = _history(opened)
    best, now = _whole(opened, _best(history)), _counted(history)
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
            "searched": sorted(best.params),
        },
        "trials": now,
        "versions": dict(opened.versions),
        "seed": spec.seed,
    }


def complete_trial(opened: OpenStudy, number: int) -> FrozenTrial:
    """One trial, read alone.

    Raises:
        InputError: if there is none of that number, or it is not complete.
    """
    storage = opened.storage
    try:
        trial_id = storage.get_trial_id_from_study_id_trial_number(opened.study_id, number)
    except KeyError:
        raise InputError(
            f"Study {opened.name!r} has no trial {number}; 'gloss-tune trials' lists those that it has"
        ) from None
    trial = storage.get_trial(trial_id)
    if trial.state != TrialState.COMPLETE:
        raise InputError(
            f"Trial {number} of study {opened.name!r} must be complete, it is {trial.state.name.lower()}; "
            "'gloss-tune trials' lists them"
        )
    return trial


def hyperparameters(spec: StudySpec, params: Mapping[str, Value]) -> dict[str, Value]:
    """All hyperparameters that a trial trained with, searched and fixed, less those that its loss does not use."""
    unused = unused_by(spec.loss, spec.mode)
    return {name: value for name, value in {**spec.train, **params}.items() if name not in unused}


def best_trial(opened: OpenStudy) -> FrozenTrial | None:
    """The complete trial with the highest value, of equal ones the earlier; None while there is none."""
    return _whole(opened, _best(_history(opened)))


def _history(opened: OpenStudy) -> list[Brief]:
    return _brief(opened.storage, opened.study_id)


@patient
def _brief(storage: SharedStorage, study_id: int) -> list[Brief]:
    with storage.transaction() as session:
        return read_briefly(session, study_id)


def _best(history: Sequence[Brief]) -> Brief | None:
    valued = [(trial.value, -trial.number, trial) for trial in history if trial.state == TrialState.COMPLETE]
    return max(valued, default=(0.0, 0, None))[-1]


def _whole(opened: OpenStudy, trial: Brief | None) -> FrozenTrial | None:
    return None if trial is None else opened.storage.get_trial(trial.trial_id)


def _counted(history: Sequence[Brief]) -> dict[str, int]:
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
