"""Single trials' standings and the K best, against the whole history."""

from __future__ import annotations

import random

import pytest
from optuna.trial import TrialState

from gloss_tune.queue.claims import claim, finish, release
from gloss_tune.storage.trial_states import Standing, best_complete, standings
from tests.integration.studies import make

pytestmark = pytest.mark.prepared


def test_standings_agree_with_the_history(storage_url: str) -> None:
    opened = make(storage_url, trials=1100)
    make(storage_url, "another", trials=3)
    for how in (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED):
        claimed = claim(opened.storage, opened.study_id, "w")
        assert claimed is not None
        finish(opened.storage, claimed, how, None if how == TrialState.FAIL else 0.5, {})
    for _ in range(2):
        returned = claim(opened.storage, opened.study_id, "w")
        assert returned is not None
        release(opened.storage, returned)
    claim(opened.storage, opened.study_id, "w")
    history = opened.optuna_study().get_trials(deepcopy=False)
    found = standings(opened.storage, opened.study_id, range(2000))
    assert found == {t.number: Standing(t.state, t.user_attrs.get("attempts", 0)) for t in history}
    assert (found[3], found[4]) == (Standing(TrialState.RUNNING, 3), Standing(TrialState.WAITING, 0))
    assert standings(opened.storage, opened.study_id, [1, 5000]).keys() == {1}
    assert standings(opened.storage, opened.study_id, []) == {}


@pytest.mark.parametrize("count", [0, 1, 3, 99])
def test_the_best_are_those_of_the_history(count: int, storage_url: str) -> None:
    opened, drawn = make(storage_url, trials=14), random.Random(1)
    for _ in range(12):
        claimed = claim(opened.storage, opened.study_id, "w")
        assert claimed is not None
        state = drawn.choice([TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
        value = None if state == TrialState.FAIL else drawn.choice([0.6, 0.7, 0.8])
        finish(opened.storage, claimed, state, value, {})
    history = opened.optuna_study().get_trials(deepcopy=False)
    complete = [(t.number, t.values[0]) for t in history if t.state == TrialState.COMPLETE]
    assert 3 < len(complete) < 12
    expected = sorted(complete, key=lambda pair: (-pair[1], pair[0]))[:count]
    assert best_complete(opened.storage, opened.study_id, count) == expected
