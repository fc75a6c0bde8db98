"""A study's best settings, queued again with fresh seeds: which, how many, and what comes of them."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from gloss_tune.confirm.confirmation import Confirmation, confirm, confirmation_of, confirmed_best, ranking
from gloss_tune.confirm.export import export
from gloss_tune.errors import InputError, NonFiniteLossError, StudyMismatchError
from gloss_tune.finetune.config import EpochReport
from gloss_tune.finetune.rehearsal import Rehearsal
from gloss_tune.queue.claims import claim
from gloss_tune.signals import StopFlag
from gloss_tune.spec.build import build_spec
from gloss_tune.study.create import create
from gloss_tune.study.status import status, trials
from gloss_tune.study.study import OpenStudy, open_study
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.runs import RehearsalRuns
from gloss_tune.workers.worker import work
from tests.integration.studies import contents, join, make

pytestmark = [pytest.mark.timeout(60), pytest.mark.prepared]

QUICK: dict[str, Any] = {
    "trials": 5,
    "pruner": "none",
    "seed": 3,
    "sampler": "random",
    "train": {"epochs": 2},
}


def finish(opened: OpenStudy, most: int | None = None) -> int:
    return work(opened, WorkerOptions(max_trials=most), StopFlag()).trials


def searched(url: str, **layer: Any) -> OpenStudy:
    """A finished study of five trials, two short epochs each."""
    opened = make(url, **{**QUICK, **layer})
    finish(opened)
    return join(url, opened.name)


def poor_at_first(url: str) -> OpenStudy:
    """A study with its first trial finished, the worst of all."""
    poor = {"learning_rate": 1e-6, "temperature": 2.0, "mask_ratio": 0.9, "lpa_iterations": 50}
    opened = make(url, **QUICK, first_trials=[poor])
    finish(opened, most=1)
    return opened


def queue_of(found: Confirmation | OpenStudy) -> list[FrozenTrial]:
    study = found.study if isinstance(found, Confirmation) else found
    return study.storage.get_all_trials(study.study_id)


def pairs(found: Confirmation | OpenStudy) -> Counter[tuple[int, int]]:
    """How often each candidate is queued with each seed."""
    return Counter(
        (t.user_attrs["candidate"], t.system_attrs["fixed_params"]["seed"]) for t in queue_of(found)
    )


def best_numbers(opened: OpenStudy, top: int) -> list[int]:
    rows = [row for row in trials(opened) if row["state"] == "complete"]
    return [row["number"] for row in sorted(rows, key=lambda row: -row["value"])[:top]]


# ── what is queued ──


def test_the_best_are_queued_with_the_same_fresh_seeds(storage_url: str) -> None:
    opened = searched(storage_url)
    found = confirm(opened, top=3, seeds=4)
    assert found.study.name == "study.confirm"
    assert found.added == 12
    seeds = found.plan.seeds
    assert len(set(seeds)) == 4
    assert opened.spec.seed not in seeds
    assert [c.number for c in found.plan.candidates] == best_numbers(opened, 3)
    assert pairs(found) == dict.fromkeys(itertools.product(best_numbers(opened, 3), seeds), 1)
    params = {row["number"]: row["params"] for row in trials(opened)}
    for trial in queue_of(found):
        assert trial.state == TrialState.WAITING
        queued = dict(trial.system_attrs["fixed_params"])
        queued.pop("seed")
        assert queued == params[trial.user_attrs["candidate"]]
    # seed after seed, so that whatever is done first can be compared
    assert [t.user_attrs["candidate"] for t in queue_of(found)[:3]] == best_numbers(opened, 3)


def test_each_run_trains_its_candidates_setting_with_its_own_seed_to_the_last_bit(url: str) -> None:
    opened = searched(url, pruner="median", keep=2)
    found = confirm(opened, top=2, seeds=3)
    assert finish(found.study) == 6
    values = []
    for trial in queue_of(found):
        seed = trial.system_attrs["fixed_params"]["seed"]
        setting = next(c.params for c in found.plan.candidates if c.number == trial.user_attrs["candidate"])
        assert trial.params == {**setting, "seed": seed}
        run = Rehearsal(opened.spec.config({**setting, "seed": seed}))
        list(run.epochs())
        assert run.best is not None
        assert (trial.state, trial.value) == (TrialState.COMPLETE, run.best.metrics["val_macro_f1"])
        values.append(trial.value)
    assert len(set(values)) == 6


def test_the_confirmation_is_a_search_no_more(url: str) -> None:
    opened = searched(url, pruner="median", sampler="tpe", keep=2, first_trials=["published"], lease=12)
    spec = confirm(opened, top=2, seeds=2).study.spec
    assert (spec.pruner, spec.keep, spec.first_trials, spec.trials) == ("none", 0, (), 4)
    same = opened.spec.to_dict().keys() - {"pruner", "keep", "first_trials", "trials", "sampler", "space"}
    assert {key: spec.to_dict()[key] for key in same} == {key: opened.spec.to_dict()[key] for key in same}
    assert {name for name in spec.space if name != "seed"} == opened.spec.space.keys()


@pytest.mark.parametrize("sampler", ["grid", "qmc"])
def test_any_search_can_be_confirmed(url: str, sampler: str) -> None:
    opened = searched(
        url,
        sampler=sampler,
        trials=4,
        space={
            "batch_size": {"choices": [16, 32]},
            "lpa_iterations": 3,
            "temperature": 0.1,
            "mask_ratio": 0.4,
        },
    )
    found = confirm(opened, top=2, seeds=2)
    assert finish(found.study) == 4
    assert {trial.state for trial in queue_of(found)} == {TrialState.COMPLETE}


def test_the_same_setting_is_no_two_candidates(url: str) -> None:
    same = {"learning_rate": 1e-4, "temperature": 0.1, "mask_ratio": 0.4, "lpa_iterations": 8}
    opened = searched(url, first_trials=[same, same, same], trials=5)
    found = confirm(opened, top=3, seeds=2)
    assert 0 in [c.number for c in found.plan.candidates]
    assert len({str(c.params) for c in found.plan.candidates}) == 3
    assert len(confirm(opened, top=9).plan.candidates) == 3


# ── repeating, extending ──


def test_repeating_it_changes_nothing(storage_url: str) -> None:
    opened = searched(storage_url)
    confirm(opened, top=2, seeds=3)
    before = contents(storage_url)
    for again in (
        confirm(opened, top=2, seeds=3),
        confirm(opened),
        confirm(join(storage_url), top=1, seeds=2),
    ):
        assert again.added == 0
        assert len(again.plan.runs()) == 6
    assert contents(storage_url) == before
    finish(confirm(opened).study)
    before = contents(storage_url)
    assert confirm(opened).added == 0
    assert contents(storage_url) == before


@pytest.mark.parametrize("done", [0, 4])
def test_more_seeds_and_settings_add_what_is_missing_and_none_twice(storage_url: str, done: int) -> None:
    opened = searched(storage_url)
    first = confirm(opened, top=2, seeds=3)
    if done:
        finish(first.study, most=done)
    kept = queue_of(first)
    second = confirm(opened, top=2, seeds=5)
    assert (second.added, second.plan.seeds[:3]) == (4, first.plan.seeds)
    third = confirm(opened, top=4, seeds=5)
    assert (third.added, third.newcomers) == (10, ())
    assert pairs(third) == dict.fromkeys(itertools.product(best_numbers(opened, 4), third.plan.seeds), 1)
    assert [trial.number for trial in queue_of(third)] == list(range(20))
    assert queue_of(third)[: len(kept)] == kept
    assert (third.study.spec.trials, status(third.study)["trials"]["budget"]) == (20, 20)
    assert finish(third.study) == 20 - done
    assert confirm(opened, top=2, seeds=2).added == 0


def test_many_at_once_queue_each_run_once(storage_url: str) -> None:
    """Created and extended by eight at the same moment, each with connections of its own."""
    searched(storage_url)
    asked = [(2, 3), (3, 4), (4, 2), (3, 4)] * 2

    def ask(top: int, seeds: int) -> int:
        return confirm(join(storage_url, "study"), top, seeds).added

    with ThreadPoolExecutor(len(asked)) as pool:
        added = list(pool.map(lambda arguments: ask(*arguments), asked))
    found = confirmation_of(join(storage_url, "study"))
    assert found is not None
    counted = pairs(found)
    assert set(counted.values()) == {1}
    assert len(counted) == sum(added) == 4 * 4
    assert sorted(trial.number for trial in queue_of(found)) == list(range(16))
    assert found.spec.trials == 16


def test_a_better_setting_found_since_joins(url: str) -> None:
    opened = poor_at_first(url)
    first = confirm(opened, top=1, seeds=2)
    finish(opened)
    assert best_numbers(opened, 1) != [0]
    second = confirm(opened)
    assert second.newcomers == tuple(best_numbers(opened, 1))
    assert second.added == 2
    assert [c.number for c in second.plan.candidates] == [first.plan.candidates[0].number, *second.newcomers]
    assert confirm(opened).newcomers == ()


# ── what is refused ──


def test_without_a_complete_trial_there_is_nothing_to_confirm(url: str) -> None:
    opened = make(url)
    before = contents(url)
    with pytest.raises(InputError, match="no complete trial"):
        confirm(opened)
    assert contents(url) == before


def test_a_confirmation_is_not_confirmed_and_not_exported(url: str) -> None:
    opened = searched(url)
    child = confirm(opened, top=1, seeds=2).study
    before = contents(url)
    with pytest.raises(InputError, match="--study study"):
        confirm(child)
    with pytest.raises(InputError, match="confirmation of 'study'"):
        export(child)
    with pytest.raises(StudyMismatchError):
        create(build_spec({"dataset": "mr", "rehearse": True}), url, child.name)
    assert contents(url) == before


@pytest.mark.parametrize(("top", "seeds"), [(1, 1), (1000, 1000), (-1, 3)])
def test_sizes_that_make_no_sense_are_refused(url: str, top: int, seeds: int) -> None:
    opened = searched(url)
    before = contents(url)
    with pytest.raises(InputError, match="--seeds"):
        confirm(opened, top, seeds)
    assert contents(url) == before


def test_another_study_of_that_name_is_left_alone(url: str) -> None:
    opened = searched(url)
    make(url, "study.confirm")
    before = contents(url)
    with pytest.raises(InputError, match="no confirmation of this 'study'"):
        confirm(opened)
    assert confirmation_of(opened) is None
    assert export(opened)["confirmed"] is None
    assert contents(url) == before


def test_the_confirmation_of_a_deleted_study_is_not_that_of_its_successor(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = searched(url)
    confirm(opened, top=1, seeds=2)
    opened.storage.delete_study(opened.study_id)
    monkeypatch.setattr("gloss_tune.study.study.new_identifier", lambda: "1")
    successor = searched(url)
    assert confirmation_of(successor) is None
    with pytest.raises(InputError, match="under another name"):
        confirm(successor)


def test_nobody_searches_a_seed() -> None:
    with pytest.raises(InputError, match=r"space\.seed"):
        build_spec({"dataset": "mr", "space": {"seed": {"low": 0, "high": 9}}})


# ── finding studies ──


def test_the_study_is_found_without_its_name_as_before(storage_url: str) -> None:
    opened = searched(storage_url)
    confirm(opened, top=1, seeds=2)
    assert open_study(storage_url).name == "study"
    assert open_study(storage_url, "study.confirm").confirms is not None
    make(storage_url, "other")
    with pytest.raises(InputError, match=r"holds 3 studies: other, study, study\.confirm"):
        open_study(storage_url)


def test_a_confirmation_left_alone_is_found(url: str) -> None:
    opened = searched(url)
    confirm(opened, top=1, seeds=2)
    opened.storage.delete_study(opened.study_id)
    assert open_study(url).name == "study.confirm"


# ── what comes of it ──


def test_the_ranking_is_that_of_the_finished_runs(url: str) -> None:
    opened = searched(url)
    assert ranking(opened) is None
    child = confirm(opened, top=3, seeds=4).study
    empty = ranking(opened)
    assert empty is not None
    assert (empty["state"], empty["candidates"][0]["n"]) == ("waiting", 0)
    finish(child, most=7)
    claim(child.storage, child.study_id, "w")
    now = ranking(opened)
    assert now is not None
    assert (now["state"], sorted(row["n"] for row in now["candidates"])) == ("running", [2, 2, 3])
    assert now["verdict"].startswith("So far (7 of 12 runs): ")
    assert now == ranking(child)


def test_the_export_prefers_the_confirmed_winner(url: str) -> None:
    opened = searched(url)
    plain = export(opened)
    assert plain["confirmed"] is None
    child = confirm(opened, top=3, seeds=4).study
    finish(child, most=11)
    assert confirmed_best(opened) is None
    assert export(opened) == plain
    finish(child)
    found = confirmed_best(join(url, "study"))
    assert found is not None
    values: dict[int, list[float]] = {}
    for trial in queue_of(child):
        values.setdefault(trial.user_attrs["candidate"], []).append(trial.value)
    means = {number: statistics.fmean(reached) for number, reached in values.items()}
    order = sorted(means, key=lambda number: -means[number])
    assert (found["number"], found["runner_up"], found["candidates"]) == (order[0], order[1], order)
    assert (found["n"], found["mean"]) == (4, pytest.approx(means[order[0]]))
    assert found["difference"] == pytest.approx(means[order[0]] - means[order[1]])
    assert found["within_noise"] == (found["p_value"] >= 0.05)
    row = trials(opened)[order[0]]
    assert found["params"] == row["params"]

    exported = export(opened)
    assert exported["confirmed"] == found
    assert exported["best"]["number"] == order[0]
    assert row["params"].items() <= exported["best"]["params"].items()
    assert (exported["best"]["value"], exported["best"]["metrics"]) == (row["value"], row["metrics"])
    assert exported.keys() == plain.keys()
    assert export(opened, unconfirmed=True) == plain
    assert export(opened, order[2])["best"]["number"] == order[2]


def test_the_export_says_that_a_better_trial_is_not_confirmed(url: str) -> None:
    opened = poor_at_first(url)
    child = confirm(opened, top=1, seeds=2).study
    assert confirmed_best(opened) is None
    finish(child)
    first = confirmed_best(opened)
    assert first is not None
    assert (first["is_current"], first["runner_up"], first["p_value"]) == (True, None, None)
    finish(opened)
    then = confirmed_best(opened)
    assert then is not None
    assert (then["is_current"], then["number"]) == (False, first["number"])


def test_only_complete_trials_are_exported(url: str) -> None:
    opened = make(url, trials=2)
    finish(opened, most=1)
    assert export(opened, 0)["best"]["number"] == 0
    with pytest.raises(InputError, match="waiting"):
        export(opened, 1)
    with pytest.raises(InputError, match="no trial 2"):
        export(opened, 2)


def test_failed_runs_are_shown_and_the_rest_counts(url: str) -> None:
    opened = searched(url)
    found = confirm(opened, top=2, seeds=4)
    worst, broken = best_numbers(opened, 2)[0], found.plan.seeds[1]
    learning_rate = next(c.params["learning_rate"] for c in found.plan.candidates if c.number == worst)

    class Diverging(Rehearsal):
        def epochs(self) -> Iterator[EpochReport]:
            if (self._config.seed, self._config.learning_rate) == (broken, learning_rate):
                raise NonFiniteLossError("the loss is nan")
            yield from super().epochs()

    work(found.study, WorkerOptions(), StopFlag(), runs=RehearsalRuns(found.study, Diverging))
    ranked = ranking(opened)
    assert ranked is not None
    rows = {row["number"]: row for row in ranked["candidates"]}
    assert (rows[worst]["n"], rows[worst]["failed"]) == (3, 1)
    assert [run["state"] for run in rows[worst]["runs"] if run["seed"] == broken] == ["fail"]
    assert ranked["candidates"][1]["pairs"] == 3
    assert f"Trial {worst} failed with 1 of 4 seeds." in ranked["verdict"]
    assert (ranked["state"], ranked["trials"]["failed"]) == ("finished", 1)
    assert confirmed_best(opened) is not None
