"""What the rest of a run takes: as planned, then at the pace of the trials that have ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gloss_tune.pipeline import pace as pace_module
from gloss_tune.pipeline.pace import Clock, Pace, pace
from gloss_tune.pipeline.plan import CONFIRM_SHARE, Given, Sizes, Speed, plan_time, unlimited

MR = Sizes(6397, 711, 3554, 2)
SLOW = Speed(64, 64 / 100, 1 / 400)
WISHES = Given(trials=8, epochs=4, max_train_docs=640)
PLAN = plan_time(36_000, SLOW, MR, 4, given=WISHES)


def ended(times: float, state: str = "complete", epochs: int = PLAN.epochs) -> dict[str, Any]:
    """A trial whose epochs took so many times as long as planned."""
    return {"state": state, "seconds": times * PLAN.trial_seconds * epochs / PLAN.epochs, "epochs": epochs}


def after(monkeypatch: pytest.MonkeyPatch, *rows: dict[str, Any], speed: Speed = SLOW) -> Pace:
    monkeypatch.setattr(pace_module, "trials", lambda _: list(rows))
    opened: Any = None
    plan = PLAN if speed == SLOW else plan_time(36_000, speed, MR, 4, given=WISHES)
    return pace(opened, plan, speed, MR, 1)


def test_before_a_trial_has_ended_the_plan_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = after(monkeypatch, {"state": "running", "seconds": None, "epochs": 3})
    assert now.speed == SLOW
    assert now.again == PLAN.trial_seconds
    assert now.confirm == pytest.approx(PLAN.confirm_seconds)
    assert now.rest == now.confirm + now.retrain + now.report


def test_trials_twice_as_slow_double_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    planned, now = after(monkeypatch), after(monkeypatch, ended(2), ended(2))
    assert now.again == pytest.approx(2 * planned.again)
    assert now.confirm == pytest.approx(min(2 * planned.confirm, CONFIRM_SHARE * (36_000 - now.report)))
    assert now.speed.step_seconds == pytest.approx(2 * SLOW.step_seconds)
    assert now.speed.document_seconds == pytest.approx(2 * SLOW.document_seconds)
    assert now.retrain - 2 == pytest.approx(2 * (planned.retrain - 2))  # but for what surrounds a training
    assert now.report == planned.report


def test_a_pruned_trial_tells_the_speed_but_not_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    now = after(monkeypatch, ended(2), ended(2, "pruned", epochs=1))
    assert now.speed.step_seconds == pytest.approx(2 * SLOW.step_seconds)
    assert now.again == pytest.approx(2 * PLAN.trial_seconds)
    only_pruned = after(monkeypatch, ended(3, "pruned", epochs=1))
    assert only_pruned.again == pytest.approx(3 * PLAN.trial_seconds)


def test_the_latest_trials_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = after(monkeypatch, *[ended(9)] * 5, *[ended(1)] * 8)
    assert now.speed.step_seconds == pytest.approx(SLOW.step_seconds)
    assert now.again == pytest.approx(PLAN.trial_seconds)


def test_a_report_of_a_seed_is_a_training_not_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    three = {"state": "complete", "seconds": 3 * PLAN.trial_seconds, "epochs": 3}
    now = after(monkeypatch, three, speed=replace(SLOW, trainings=3, seeds=3))
    assert now.speed.step_seconds == pytest.approx(SLOW.step_seconds)
    assert now.again == PLAN.trial_seconds  # a confirmation's run has one seed


def test_without_a_limit_nothing_is_reserved_and_there_is_always_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: Any = None
    monkeypatch.setattr(pace_module, "trials", lambda _: pytest.fail("read for nothing"))
    assert pace(opened, unlimited(4, 2, None), SLOW, MR, 1).rest == 0
    assert Clock(None).left(1e9) == float("inf")
    assert 0 < Clock(10).left(5) <= 5
