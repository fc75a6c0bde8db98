"""Let samplers learn from trials that failed because of their hyperparameters.

Optuna's samplers leave failed trials out, and so would propose the same setting that ran out of memory again and
again. Here they see such a trial as complete, with the worst value so far and a violated constraint, which is how
Optuna describes an infeasible point (https://optuna.readthedocs.io, "Constrained optimization").
"""

from __future__ import annotations

import copy
from collections.abc import Container

import optuna
from optuna.trial import FrozenTrial, TrialState

from gloss_tune.storage.schema import CONSTRAINTS

_VIOLATED, _FULFILLED = [1.0], [-1.0]


class StudyWithInfeasible(optuna.Study):
    """A study as a sampler shall see it during one draw: its history is read once.

    Without infeasible trials it shows the study as it is.
    """

    def __init__(self, study: optuna.Study) -> None:
        super().__init__(study.study_name, study._storage, sampler=study.sampler, pruner=study.pruner)
        self._seen: list[FrozenTrial] | None = None

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        if self._seen is None:
            self._seen = _with_constraints(super()._get_trials(deepcopy=False))
        chosen = [trial for trial in self._seen if states is None or trial.state in states]
        return copy.deepcopy(chosen) if deepcopy else chosen


def _with_constraints(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    values = [trial.value for trial in trials if trial.state == TrialState.COMPLETE]
    known = [value for value in values if value is not None]
    if not known or not any(map(_is_infeasible, trials)):
        return trials
    return [_with_constraint(trial, min(known)) for trial in trials]


def _is_infeasible(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and CONSTRAINTS in trial.system_attrs


def _with_constraint(trial: FrozenTrial, worst: float) -> FrozenTrial:
    """The trial with a constraint, which samplers want either on all trials or on none."""
    infeasible = _is_infeasible(trial)
    if not infeasible and trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
        return trial
    seen = copy.copy(trial)
    seen.system_attrs = {**trial.system_attrs, CONSTRAINTS: _VIOLATED if infeasible else _FULFILLED}
    if infeasible:
        seen.state, seen.value = TrialState.COMPLETE, worst
    return seen
