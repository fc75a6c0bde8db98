"""How a time is spent: the parts add up, fit what was measured, and keep what the user has decided."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gloss_tune.errors import InputError
from gloss_tune.pipeline.plan import Given, Sizes, Speed, TimePlan, plan_time, unlimited

MR = Sizes(6397, 711, 3554, 2)
SLOW = Speed(64, 64 / 100, 1 / 400)  # 100 documents/s in training, 400 in validation


def trial_seconds(plan: TimePlan, speed: Speed, sizes: Sizes) -> float:
    docs = sizes.train if plan.max_train_docs is None else plan.max_train_docs
    steps = math.ceil(docs / speed.batch_size)
    val = plan.max_val_docs or sizes.val
    return plan.epochs * (steps * speed.step_seconds + val * speed.document_seconds)


@pytest.mark.parametrize("seconds", [600, 3600, 7200, 86_400])
def test_the_parts_are_the_whole(seconds: float) -> None:
    plan = plan_time(seconds, SLOW, MR, 10)
    parts = plan.search_seconds, plan.confirm_seconds, plan.retrain_seconds, plan.report_seconds
    assert sum(parts) == pytest.approx(seconds)
    assert min(parts) >= 0
    assert plan.trial_seconds == pytest.approx(trial_seconds(plan, SLOW, MR))
    assert plan.trials * plan.trial_seconds <= plan.search_seconds
    assert plan.trials >= 4
    assert plan.search_seconds >= 0.4 * seconds


def test_more_time_buys_more_documents_then_epochs_then_trials() -> None:
    plans = [plan_time(seconds, SLOW, MR, 10) for seconds in (600, 3600, 36_000, 360_000)]
    docs = [plan.max_train_docs or MR.train for plan in plans]
    assert docs == sorted(docs)
    assert docs[0] < docs[-1] == MR.train
    assert [plan.epochs for plan in plans] == sorted(plan.epochs for plan in plans)
    assert plans[-1].epochs == 10
    assert plans[-1].trials > plans[1].trials
    assert plans[-1].retrain_docs is None


def test_what_the_user_decided_stays() -> None:
    plan = plan_time(7200, SLOW, MR, 10, given=Given(trials=7, epochs=3, max_train_docs=640))
    assert (plan.trials, plan.epochs, plan.max_train_docs, plan.open_ended) == (7, 3, 640, False)
    assert plan_time(7200, SLOW, MR, 10).open_ended


def test_validation_takes_no_more_than_half_where_it_can_be_smaller() -> None:
    many = Sizes(1000, 50_000, 0, 2)
    plan = plan_time(1800, SLOW, many, 4)
    assert plan.max_val_docs is not None
    assert plan.max_val_docs * SLOW.document_seconds <= plan.trial_seconds / plan.epochs / 2
    assert plan_time(1800, SLOW, many, 4, given=Given(max_val_docs=300)).max_val_docs == 300
    assert plan_time(7200, SLOW, MR, 10).max_val_docs is None


def test_workers_share_the_trials() -> None:
    assert plan_time(3600, SLOW, MR, 10, workers=4).trials >= 16
    one, four = (plan_time(36_000, SLOW, MR, 10, workers=workers) for workers in (1, 4))
    assert four.trials > 3 * one.trials


def test_too_short_a_time_says_how_long_it_must_be() -> None:
    with pytest.raises(InputError, match=r"too short here.*take about") as refused:
        plan_time(20, SLOW, MR, 10)
    assert "--max-train-docs" in str(refused.value)
    with pytest.raises(InputError, match="too short"):
        plan_time(600, SLOW, MR, 10, given=Given(trials=1000, epochs=10, max_train_docs=6397))


def test_a_rehearsal_is_planned_by_its_own_seconds() -> None:
    plan = plan_time(60, Speed(1, 0.0, 0.0, fixed_seconds=2.0), Sizes(1, 1, 0, 2), 5)
    assert (plan.trial_seconds, plan.epochs, plan.retrain_seconds) == (2.0, 5, 0.0)


def test_without_a_limit_everything_is_done() -> None:
    plan = unlimited(20, 10, None)
    assert (plan.trials, plan.seconds, plan.open_ended) == (20, None, False)
    assert plan.top * plan.seeds >= 9
    assert plan.search_seconds == math.inf


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    seconds=st.floats(30, 1e6),
    documents_per_second=st.floats(1, 1e5),
    batch=st.integers(2, 512),
    train=st.integers(20, 10**6),
    val=st.integers(2, 10**5),
    classes=st.integers(2, 100),
    workers=st.integers(1, 8),
)
def test_a_plan_fits_its_time_or_is_refused(
    seconds: float, documents_per_second: float, batch: int, train: int, val: int, classes: int, workers: int
) -> None:
    speed = Speed(batch, batch / documents_per_second, 0.3 / documents_per_second)
    sizes = Sizes(train, val, val, classes)
    try:
        plan = plan_time(seconds, speed, sizes, 10, workers=workers)
    except InputError:
        return
    parts = plan.search_seconds, plan.confirm_seconds, plan.retrain_seconds, plan.report_seconds
    assert sum(parts) == pytest.approx(seconds)
    assert min(parts) >= 0
    assert plan.trial_seconds == pytest.approx(trial_seconds(plan, speed, sizes))
    assert math.ceil(plan.trials / workers) * plan.trial_seconds <= 1.3 * plan.search_seconds
    assert plan.max_train_docs is None or min(64, train) <= plan.max_train_docs <= train


def test_a_refusal_names_the_time_that_was_given_not_what_measuring_left() -> None:
    with pytest.raises(InputError, match=r"--time 2\.5 min is too short"):
        plan_time(30, SLOW, MR, 10, spent=120)
