"""Plain Optuna on a study of ours: what it queues is run or refused, what it runs is left alone and named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from gloss_tune.confirm.export import exported_trial as export
from gloss_tune.queue.claims import claim
from gloss_tune.queue.recovery import requeue_failed
from gloss_tune.signals import StopFlag
from gloss_tune.storage.trial_states import best_complete
from gloss_tune.study.status import status, stop_reason, trial_counts
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.worker import work
from tests.integration.studies import join, make, trial_of

pytestmark = [
    pytest.mark.prepared,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]


def plain(opened: OpenStudy) -> optuna.Study:
    """The study as its user's own script has it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.load_study(study_name=opened.name, storage=join_storage(opened))


def join_storage(opened: OpenStudy) -> Any:
    storage = optuna.storages.RDBStorage(
        opened.storage.engine.url.render_as_string(hide_password=False),
        skip_table_creation=True,
        skip_compatibility_check=True,
    )
    _OPEN.append(storage)
    return storage


_OPEN: list[Any] = []


@pytest.fixture(autouse=True)
def connections_closed() -> Any:
    yield
    for storage in _OPEN:
        storage.remove_session()
        storage.engine.dispose()
    _OPEN.clear()


def run(opened: OpenStudy) -> int:
    return work(opened, WorkerOptions(artifacts=Path(os.devnull)), StopFlag()).trials


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"lpa_iterations": "many"}, "lpa_iterations='many' lies outside its range"),
        ({"mask_ratio": 7}, "mask_ratio=7 lies outside its range"),
        ({"mask_ratio": float("nan")}, "mask_ratio=nan lies outside its range"),
        ({"lpa_iterations": float("inf")}, "lpa_iterations=inf lies outside its range"),
        ({"lpa_iterations": 2.5}, "lpa_iterations=2.5 lies outside its range"),
        ({"mask_ratio": None}, "mask_ratio=None lies outside its range"),
        ({"mask_ratio": [0.5]}, "lies outside its range"),
        ({"mask_ratio": True}, "lies outside its range"),
        ({"no_such_name": 1}, "no_such_name is not searched here"),
        ({"mask_ratio": 7, "temperature": -1}, "temperature=-1 lies outside its range"),
    ],
    ids=str,
)
def test_a_trial_that_cannot_run_fails_once_with_the_reason(
    storage_url: str, params: dict[str, Any], reason: str
) -> None:
    opened = make(storage_url, trials=2)
    plain(opened).enqueue_trial(params)
    assert run(opened) == 3
    failed = trial_of(opened, 2)
    assert failed.state == TrialState.FAIL
    assert failed.user_attrs["error"].startswith("QueuedParamsError: ")
    assert reason in failed.user_attrs["error"]
    assert failed.user_attrs["attempts"] == 1
    assert [trial_of(opened, n).state for n in (0, 1)] == [TrialState.COMPLETE] * 2
    assert "constraints" not in failed.system_attrs


def test_a_trial_that_was_added_with_odd_parameters_fails_as_well(storage_url: str) -> None:
    opened = make(storage_url, trials=1)
    plain(opened).add_trial(
        create_trial(
            state=TrialState.WAITING,
            params={"mask_ratio": 7.0},
            distributions={"mask_ratio": FloatDistribution(0, 10)},
        )
    )
    assert run(opened) == 2
    assert trial_of(opened, 1).state == TrialState.FAIL
    assert trial_of(opened, 0).state == TrialState.COMPLETE


def test_a_trial_with_odd_attributes_runs_all_the_same(storage_url: str) -> None:
    opened = make(storage_url, trials=1)
    plain(opened).enqueue_trial({"mask_ratio": 0.5}, user_attrs={"attempts": "many", "seconds": None})
    assert run(opened) == 2
    assert trial_of(opened, 1).state == TrialState.COMPLETE
    assert trial_of(opened, 1).params["mask_ratio"] == 0.5


def test_a_good_trial_that_plain_optuna_queued_is_one_more(storage_url: str) -> None:
    opened = make(storage_url, trials=2)
    plain(opened).enqueue_trial({"mask_ratio": 0.5})
    assert trial_counts(opened)["budget"] == 3
    assert run(opened) == 3
    assert trial_of(opened, 2).params["mask_ratio"] == 0.5
    assert status(opened)["foreign"] == []


def test_a_trial_that_another_tool_runs_is_left_alone_and_named(storage_url: str) -> None:
    opened = make(storage_url, trials=2, lease=2)
    for _ in range(2):
        claim(opened.storage, opened.study_id, "busy")  # so that plain Optuna adds one of its own
    other = plain(opened).ask()
    assert other.number == 2
    found = status(opened)
    assert found["foreign"] == [2]
    assert found["trials"] == {
        "budget": 2, "complete": 0, "pruned": 0, "failed": 0, "running": 2, "waiting": 0,
    }  # fmt: skip
    assert trial_counts(opened) == found["trials"]
    assert 2 not in opened.requeue_lost().requeued
    assert 2 not in opened.requeue_lost(all_running=True).requeued
    assert trial_of(opened, 2).state == TrialState.RUNNING
    assert run(opened) == 2, "and no worker waits for it"
    assert status(opened)["state"] == "finished"


def test_what_another_tool_found_is_neither_best_nor_a_failure_of_ours(storage_url: str) -> None:
    opened = make(storage_url, trials=2, max_failures=1)
    run(opened)
    study = plain(opened)
    study.optimize(lambda trial: 99.0, n_trials=1)
    study.optimize(lambda trial: float("nan"), n_trials=1)
    found = status(opened)
    assert found["foreign"] == [2, 3]
    assert found["trials"]["budget"] == 2
    assert found["trials"]["failed"] == 0
    assert found["best"]["value"] < 1
    assert export(opened)["best"]["number"] in (0, 1)
    assert {number for number, _ in best_complete(opened.storage, opened.study_id, 9)} == {0, 1}
    assert stop_reason(opened) is None
    assert not requeue_failed(opened.storage, opened.study_id)


def test_a_slot_of_the_budget_that_another_tool_took_stays_one(storage_url: str) -> None:
    """Plain Optuna runs what waits first: the budget neither grows nor shrinks by that."""
    opened = make(storage_url, trials=3)
    plain(opened).optimize(lambda trial: 0.5, n_trials=1)
    assert status(opened)["foreign"] == [0]
    assert trial_counts(opened)["budget"] == 3
    assert run(opened) == 2
    assert trial_counts(opened) == {
        "budget": 3, "complete": 3, "pruned": 0, "failed": 0, "running": 0, "waiting": 0,
    }  # fmt: skip
    assert len(opened.storage.get_all_trials(opened.study_id)) == 3
    assert join(storage_url).requeue_lost().requeued == []
