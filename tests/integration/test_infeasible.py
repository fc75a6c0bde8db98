"""Samplers learn from trials that failed because of their hyperparameters."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from gloss_tune.queue.claims import claim
from gloss_tune.study.infeasible import StudyWithInfeasible
from gloss_tune.study.objective import Ending, ask, tell
from gloss_tune.study.study import OpenStudy
from tests.integration.studies import join, make, trial_of

pytestmark = pytest.mark.prepared

SPACE = {"mask_ratio": 0.5, "lpa_iterations": 5, "temperature": {"low": 0.01, "high": 1.0, "log": True}}
# Optuna 4 stores constraints with all trials where it is to look at any
FULFILLED = [-1.0] if optuna.__version__.startswith("4.") else None
WORST = "NonFiniteLossError: nan"


def run(opened: OpenStudy, boundary: float, reports: bool = True) -> list[float]:
    """Run the whole study: every learning rate above ``boundary`` fails, below it higher is better."""
    rates = []
    while (claimed := claim(opened.storage, opened.study_id, "w")) is not None:
        trial, params = ask(opened, claimed)
        rate = float(params["learning_rate"])
        rates.append(rate)
        if rate > boundary:
            ending = Ending(TrialState.FAIL, reason=WORST, infeasible=reports)
        else:
            trial.report(rate, step=1)
            ending = Ending(TrialState.COMPLETE, rate)
        tell(opened, trial, claimed, ending, 1.0, {})
    return rates


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_sampler_keeps_away_from_where_trials_fail(url: str, sampler: str) -> None:
    """The better values lie towards the boundary, so that a sampler which sees no failures runs into it."""
    boundary, failures = 1e-4, {}
    for learns in (True, False):
        opened = make(url, str(learns), trials=30, sampler=sampler, pruner="none", space=SPACE, seed=1)
        late = run(opened, boundary, reports=learns)[15:]
        failures[learns] = sum(rate > boundary for rate in late)
    assert failures[True] < failures[False]


def test_only_failures_by_hyperparameters_are_marked(storage_url: str) -> None:
    opened = make(storage_url, trials=3, space=SPACE)
    for ending in (
        Ending(TrialState.FAIL, reason="a bug", unexpected=True),
        Ending(TrialState.FAIL, reason=WORST, infeasible=True),
        Ending(TrialState.COMPLETE, 0.5),
    ):
        claimed = claim(opened.storage, opened.study_id, "w")
        assert claimed is not None
        trial, _ = ask(opened, claimed)
        tell(opened, trial, claimed, ending, 1.0, {})
    marked = [trial_of(opened, n).system_attrs.get("constraints") for n in range(3)]
    assert marked[:2] == [None, [1.0]]
    assert marked[2] == FULFILLED


def test_what_a_sampler_sees(url: str) -> None:
    opened = make(url, trials=5, space=SPACE)
    for ending in (
        Ending(TrialState.COMPLETE, 0.7),
        Ending(TrialState.COMPLETE, 0.4),
        Ending(TrialState.FAIL, reason=WORST, infeasible=True),
        Ending(TrialState.FAIL, reason="a bug"),
    ):
        claimed = claim(opened.storage, opened.study_id, "w")
        assert claimed is not None
        trial, _ = ask(opened, claimed)
        tell(opened, trial, claimed, ending, 1.0, {})
    study = join(url).optuna_study()
    seen = StudyWithInfeasible(study).get_trials()
    assert [t.state.name for t in seen] == ["COMPLETE", "COMPLETE", "COMPLETE", "FAIL", "WAITING"]
    assert [t.value for t in seen] == [0.7, 0.4, 0.4, None, None]
    assert [t.system_attrs.get("constraints") for t in seen] == [[-1.0], [-1.0], [1.0], None, None]
    complete = StudyWithInfeasible(study).get_trials(states=(TrialState.COMPLETE,))
    assert [t.number for t in complete] == [0, 1, 2]
    plain = study.get_trials()
    assert [t.state.name for t in plain] == ["COMPLETE", "COMPLETE", "FAIL", "FAIL", "WAITING"]
    assert plain[0].system_attrs.get("constraints") == FULFILLED


def test_before_anything_is_complete_there_is_nothing_to_compare_with(url: str) -> None:
    opened = make(url, trials=3, space=SPACE, sampler="gp")
    assert len(set(run(opened, boundary=0.0))) == 3
    seen = StudyWithInfeasible(opened.optuna_study()).get_trials()
    assert [t.state.name for t in seen] == ["FAIL"] * 3
