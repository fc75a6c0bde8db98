"""Results of a study: its history in brief, single trials, the best, and what a trial trained with."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from optuna.trial import FrozenTrial, TrialState

from gloss_tune.errors import InputError
from gloss_tune.spec.ranges import Value
from gloss_tune.spec.space import unused_by
from gloss_tune.spec.spec import StudySpec
from gloss_tune.storage.retry import retried
from gloss_tune.storage.shared_storage import SharedStorage
from gloss_tune.storage.trial_states import Brief, read_briefly
from gloss_tune.study.study import OpenStudy


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
    return whole_trial(opened, best_of(read_history(opened)))


def whole_trial(opened: OpenStudy, trial: Brief | None) -> FrozenTrial | None:
    """A trial of the history with all that is stored of it."""
    return None if trial is None else opened.storage.get_trial(trial.trial_id)


def best_of(history: Sequence[Brief]) -> Brief | None:
    """The complete trial with the highest value, of equal ones the earlier; None while there is none.

    Trials that another tool ran are left out: nobody knows what their values are.
    """
    valued = [
        (trial.value, -trial.number, trial)
        for trial in history
        if trial.state == TrialState.COMPLETE and not trial.foreign
    ]
    return max(valued, default=(0.0, 0, None))[-1]


def epoch_seconds(opened: OpenStudy) -> float | None:
    """How long an epoch takes, by the finished trials' measurements: their median; None while there is none."""
    measured = [
        trial.user_attrs.get("metrics", {}) for trial in opened.storage.get_all_trials(opened.study_id)
    ]
    times = [own["train_seconds"] + own["eval_seconds"] for own in measured if "eval_seconds" in own]
    return statistics.median(times) if times else None


def read_history(opened: OpenStudy) -> list[Brief]:
    """All trials in brief, in the order of their numbers."""
    return _read_history(opened.storage, opened.study_id)


@retried
def _read_history(storage: SharedStorage, study_id: int) -> list[Brief]:
    with storage.transaction() as session:
        return read_briefly(session, study_id)
