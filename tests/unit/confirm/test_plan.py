"""Fresh seeds, and a plan that only grows."""

from __future__ import annotations

import json

import pytest

from gloss_tune.confirm.plan import Candidate, Plan, fresh_seeds
from gloss_tune.spec.space import SEED_RANGE

SEVEN = Candidate(7, 0.8, {"learning_rate": 1e-3})
THREE = Candidate(3, 0.7, {"learning_rate": 1e-4})
NINE = Candidate(9, 0.6, {"learning_rate": 1e-5})


@pytest.mark.parametrize("seed", [0, 1, 655170119, 2**62])
def test_seeds_are_fresh_and_more_of_them_begin_with_the_same(seed: int) -> None:
    seeds = fresh_seeds(seed, 200)
    assert len(set(seeds)) == 200
    assert seed not in seeds
    assert all(SEED_RANGE["low"] <= s <= SEED_RANGE["high"] for s in seeds)
    assert all(float(s) == s for s in seeds)  # as a database's floats hold them
    assert fresh_seeds(seed, 3) == seeds[:3]
    assert not set(seeds) & set(fresh_seeds(seed + 1, 200))


def test_a_seed_that_would_be_the_studys_own_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {0: 5, 1: 42, 2: 5, 3: 6}
    monkeypatch.setattr("gloss_tune.confirm.plan.derive_seed", lambda seed, purpose, index: drawn[index])
    assert fresh_seeds(42, 2) == (5, 6)


def test_a_plan_runs_every_candidate_with_every_seed_seed_after_seed() -> None:
    plan = Plan(2, (SEVEN, THREE), (11, 12))
    assert plan.runs() == [(SEVEN, 11), (THREE, 11), (SEVEN, 12), (THREE, 12)]
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_a_plan_grows_by_what_it_lacks() -> None:
    plan = Plan(2, (SEVEN, THREE), (11, 12))
    same_as_three = Candidate(30, 0.75, THREE.params)
    grown = plan.grown(Plan(3, (same_as_three, NINE), (11, 12, 13)))
    assert grown == Plan(3, (SEVEN, THREE, NINE), (11, 12, 13))
    more = grown.runs_beyond(plan)
    assert more == [(NINE, 11), (NINE, 12), (SEVEN, 13), (THREE, 13), (NINE, 13)]


def test_a_plan_never_shrinks() -> None:
    plan = Plan(2, (SEVEN, THREE), (11, 12))
    assert plan.grown(Plan(1, (SEVEN,), (11,))) == plan
    assert plan.grown(plan) == plan
    assert plan.runs_beyond(plan) == []
