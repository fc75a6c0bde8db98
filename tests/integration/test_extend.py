"""A study's budget grows: exactly by what was asked, whoever asks and works at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gloss_tune.confirm.confirmation import confirm
from gloss_tune.confirm.export import export
from gloss_tune.errors import InputError, SpecError, StudyMismatchError
from gloss_tune.queue.claims import claim
from gloss_tune.queue.recovery import requeue_failed
from gloss_tune.report.document import Pictures, report_text
from gloss_tune.report.facts import gather
from gloss_tune.signals import StopFlag
from gloss_tune.spec.build import build_spec
from gloss_tune.spec.space import grid_points
from gloss_tune.study.create import create
from gloss_tune.study.extend import Extended, enqueue, extend
from gloss_tune.study.objective import Ending, ask, tell
from gloss_tune.study.samplers import known_params
from gloss_tune.study.status import status, stop_reason, trial_counts, trials
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.worker import WorkerOptions, work
from tests.integration.studies import contents, join, make

pytestmark = [pytest.mark.timeout(60), pytest.mark.prepared]

GRID = {
    "sampler": "grid",
    "space": {
        "mask_ratio": {"choices": [0.2, 0.4, 0.6]},
        "temperature": {"choices": [0.1, 0.5]},
        "lpa_iterations": 5,
        "learning_rate": 1e-4,
    },
}


def finish(opened: OpenStudy, most: int | None = None) -> int:
    return work(opened, WorkerOptions(max_trials=most), StopFlag()).trials


def points(opened: OpenStudy) -> list[dict[str, Any]]:
    return [known_params(trial) for trial in opened.storage.get_all_trials(opened.study_id)]


def test_a_finished_study_has_work_again_and_ends_with_the_sum(storage_url: str) -> None:
    opened = make(storage_url, trials=3)
    assert finish(opened) == 3
    assert extend(opened, 4) == Extended(4, 7)
    again = join(storage_url)
    assert (again.spec.trials, again.first_budget) == (7, 3)
    now = status(again)
    assert (now["state"], now["trials"]["budget"], now["trials"]["waiting"]) == ("waiting", 7, 4)
    assert finish(again) == 4
    assert [row["number"] for row in trials(again)] == list(range(7))
    assert len({str(row["params"]) for row in trials(again)}) == 7
    assert status(again)["state"] == "finished"


def test_what_tells_of_a_study_follows(url: str) -> None:
    """Status, export and report tell of the sum."""
    opened = make(url, trials=3, pruner="median", train={"epochs": 6, "patience": 6})
    finish(opened)
    extend(opened, 9)
    again = join(url)
    finish(again)
    rows = trials(again)
    best = max((row for row in rows if row["state"] == "complete"), key=lambda row: row["value"])
    assert best["number"] >= 3, "choose another seed: the best is of the first budget"
    exported, facts = export(again), gather(again)
    assert exported["best"]["number"] == best["number"] == facts.best["best"]["number"]
    assert exported["trials"] == status(again)["trials"] == facts.counts
    assert exported["trials"]["budget"] == 12
    assert len(facts.trials) == 12
    assert "12 of 12 trials have ended" in report_text(facts, Pictures())


def test_a_worker_that_opened_the_study_before_takes_the_new_trials(storage_url: str) -> None:
    opened = make(storage_url, trials=1)
    before = join(storage_url)
    extend(opened, 2)
    assert finish(before) == 3


def test_the_same_token_extends_once(storage_url: str) -> None:
    opened = make(storage_url)
    assert extend(opened, 2, "monday") == Extended(2, 6)
    assert extend(join(storage_url), 2, "monday") == Extended(0, 6, repeated=True)
    assert extend(opened, 2, "tuesday") == Extended(2, 8)
    assert trial_counts(opened)["budget"] == 8


def test_calls_at_the_same_moment_each_add_what_they_ask(storage_url: str) -> None:
    make(storage_url)
    with ThreadPoolExecutor(8) as pool:
        asked = [(3, None), (2, "once")] * 4
        found = list(pool.map(lambda one: extend(join(storage_url), *one), asked))
    opened = join(storage_url)
    assert sum(one.added for one in found) == 4 * 3 + 2
    assert sum(one.repeated for one in found) == 3
    assert trial_counts(opened)["budget"] == opened.spec.trials == 4 + 14
    assert [row["number"] for row in trials(opened)] == list(range(18))


def test_creating_it_again_is_a_no_op_with_the_budget_it_was_made_with_or_has_now(storage_url: str) -> None:
    opened = make(storage_url)
    extend(opened, 3)
    for budget in (4, 7):
        assert not create(build_spec(opened.spec.to_dict(), {"trials": budget}), storage_url, "study").is_new
    with pytest.raises(StudyMismatchError, match=r"extend --study study --trials 2"):
        make(storage_url, trials=9)
    with pytest.raises(StudyMismatchError, match="Repeat it as it was"):
        make(storage_url, trials=9, seed=5)


def test_a_grid_goes_on_with_the_points_it_has_left(url: str, caplog: pytest.LogCaptureFixture) -> None:
    opened = make(url, trials=2, **GRID)
    enqueue(opened, {"mask_ratio": 0.4})  # drawn in part, and no point of the order
    assert extend(opened, 1).added == 1
    assert extend(opened, 99).added == 3
    assert "3 points left" in caplog.text
    order = grid_points(opened.spec.ranges, opened.spec.seed)
    assert [point for point in points(opened) if len(point) == 2] == order
    with pytest.raises(InputError, match="no points left"):
        extend(opened, 1)


def test_a_finite_space_is_not_given_more_trials_than_it_has_points(url: str) -> None:
    opened = make(url, trials=5, **{**GRID, "sampler": "random"})
    assert extend(opened, 10) == Extended(1, 6)
    finish(opened)
    assert len({str(point) for point in points(opened)}) == 6
    before = contents(url)
    with pytest.raises(InputError, match="no points left"):
        extend(opened, 1)
    assert contents(url) == before


def test_a_stopped_study_grows_and_says_that_it_is_stopped(storage_url: str) -> None:
    opened = make(storage_url, trials=2, max_failures=1)
    claimed = claim(opened.storage, opened.study_id, "w")
    assert claimed is not None
    trial, _ = ask(opened, claimed)
    from optuna.trial import TrialState

    tell(opened, trial, claimed, Ending(TrialState.FAIL, reason="Broken: it is"), 1.0, {})
    opened.storage.forget_claim(claimed.trial_id)
    extend(opened, 2)
    assert stop_reason(opened) is not None
    requeue_failed(opened.storage, opened.study_id)
    assert finish(join(storage_url)) == 4


@pytest.mark.parametrize("wrong", [0, -3, 10**6 + 1, 10**6])
def test_a_number_that_cannot_be_added_is_refused(url: str, wrong: int) -> None:
    opened = make(url)
    before = contents(url)
    with pytest.raises(InputError, match="trials"):
        extend(opened, wrong)
    assert contents(url) == before


def test_a_confirmation_grows_by_confirm_alone(url: str) -> None:
    opened = make(url, trials=2, pruner="none")
    finish(opened)
    child = confirm(opened, 1, 2).study
    with pytest.raises(InputError, match="confirm --seeds"):
        extend(child, 1)
    with pytest.raises(InputError, match="confirm --seeds"):
        enqueue(child, {"temperature": 0.1})


def test_an_enqueued_trial_has_its_parameters_and_draws_the_rest(storage_url: str) -> None:
    opened = make(storage_url, trials=1)
    assert enqueue(opened, {"temperature": 0.25, "lpa_iterations": 7}) == Extended(1, 2)
    finish(opened)
    row = trials(opened)[1]
    assert (row["params"]["temperature"], row["params"]["lpa_iterations"]) == (0.25, 7)
    assert set(row["params"]) == set(opened.spec.space)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "at least one parameter"),
        ({"temperature": 7}, "outside its range"),
        ({"temperature": "warm"}, "outside its range"),
        ({"lpa_iterations": 2.5}, "outside its range"),
        ({"temperature": float("nan")}, "outside its range"),
        ({"batch_size": 8}, "not searched"),
        ({"temprature": 0.1, "mask_ratio": 3}, "2 faults"),
    ],
)
def test_wrong_parameters_are_refused_and_nothing_is_written(url: str, params: Any, said: str) -> None:
    opened = make(url)
    before = contents(url)
    with pytest.raises((SpecError, InputError), match=said):
        enqueue(opened, params)
    assert contents(url) == before


def test_what_the_study_has_is_not_tried_again(url: str) -> None:
    opened = make(url, trials=1)
    finish(opened)
    tried = trials(opened)[0]["params"]
    with pytest.raises(InputError, match="trial 0"):
        enqueue(opened, tried)
    gridded = make(url, "grid", trials=2, **GRID)
    with pytest.raises(InputError, match="points that are left"):
        enqueue(gridded, {"mask_ratio": 0.6, "temperature": 0.5})
