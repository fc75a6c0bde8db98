"""A group that grows when its first trial has told what memory it takes: real processes, a real study's history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from gloss_tune.launch import density as density_module
from gloss_tune.launch.density import Density, worker_memory
from gloss_tune.launch.starter import Starter
from gloss_tune.launch.supervisor import supervise
from gloss_tune.signals import StopFlag
from gloss_tune.study.status import trials as read_trials
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.options import WorkerOptions
from tests.integration.studies import join, make

pytestmark = pytest.mark.timeout(60)
GB = 10**9
MIB = 2**20


class CountingStarter(Starter):
    """Remembers which workers it started, on what."""

    def __init__(self, url: str) -> None:
        super().__init__(url, True, lambda: False)
        self.started: list[tuple[int, str]] = []

    def start(self, target: Any, *arguments: Any) -> Any:
        self.started.append((arguments[0].worker, arguments[0].options.device))
        return super().start(target, *arguments)


def with_memory(monkeypatch: pytest.MonkeyPatch, told_after: int) -> Density:
    """Chooses for three cores, from trials that tell nothing until so many have finished."""

    def told(opened: OpenStudy, kind: str) -> float | None:
        ended = [row for row in read_trials(opened) if row["state"] == "complete"]
        return GB if len(ended) >= told_after else None

    monkeypatch.setattr(density_module, "worker_memory", told)
    return Density(["cpu"], cores=lambda: 3, free=lambda names: dict.fromkeys(names, 100 * GB))


def run(url: str, opened: OpenStudy, density: Density, options: WorkerOptions) -> list[tuple[int, str]]:
    group = CountingStarter(url)
    assert supervise(opened, url, group, ["cpu"], options, StopFlag(), density) == 0
    return group.started


def test_workers_join_when_a_trial_has_told_and_the_budget_stays_exact(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = make(url, trials=8, rehearse_seconds=0.5, pruner="none", train={"patience": 10})
    started = run(url, opened, with_memory(monkeypatch, told_after=2), WorkerOptions(artifacts=tmp_path))
    assert started == [(1, "cpu"), (2, "cpu"), (3, "cpu")]
    rows = read_trials(join(url))
    assert [(row["state"], row["attempts"]) for row in rows] == [("complete", 1)] * 8
    workers = [row["worker"] for row in rows]
    assert workers[0] == workers[1]  # until then there was one
    assert len(set(workers)) == 3


def test_a_first_worker_that_leaves_after_its_trial_is_followed_by_the_others(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --max-trials 1 nobody is left while the group still considers whether others may join."""
    opened = make(url, trials=8)
    options = WorkerOptions(artifacts=tmp_path, max_trials=1)
    assert len(run(url, opened, with_memory(monkeypatch, told_after=1), options)) == 3
    assert [row["state"] for row in read_trials(join(url))] == ["complete"] * 3 + ["waiting"] * 5


def test_trials_that_never_tell_end_with_the_first_worker(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = make(url, trials=4)
    started = run(url, opened, with_memory(monkeypatch, told_after=99), WorkerOptions(artifacts=tmp_path))
    assert started == [(1, "cpu")]
    assert [row["state"] for row in read_trials(join(url))] == ["complete"] * 4


# ── what a study's history tells ──


def ended(
    opened: OpenStudy,
    device: str | None,
    peak: float | None,
    state: TrialState = TrialState.COMPLETE,
    **params: Any,
) -> None:
    attributes: dict[str, Any] = {} if device is None else {"device": device}
    if peak is not None:
        attributes["metrics"] = {"peak_memory_mb": peak}
    opened.optuna_study().add_trial(
        optuna.trial.create_trial(
            state=state,
            values=[0.5] if state == TrialState.COMPLETE else None,
            params=params,
            distributions=distributions(params),
            user_attrs=attributes,
        )
    )


def distributions(params: Mapping[str, Any]) -> dict[str, optuna.distributions.BaseDistribution]:
    offered: dict[str, Sequence[int]] = {"batch_size": (32, 64, 128, 256), "max_length": (64, 128, 256)}
    return {name: optuna.distributions.CategoricalDistribution(offered[name]) for name in params}


def test_the_most_that_a_trial_took_on_this_kind_of_device_counts_with_some_to_spare(url: str) -> None:
    opened = make(url)
    assert worker_memory(opened, "cpu") is None
    ended(opened, "cpu", None, TrialState.FAIL)
    ended(opened, None, 0.0)  # a rehearsal
    assert worker_memory(opened, "cpu") is None
    ended(opened, "cpu", 2000.0, TrialState.PRUNED)
    ended(opened, "cpu", 1000.0)
    assert worker_memory(opened, "cpu") == pytest.approx(1.25 * 2000 * MIB)
    assert worker_memory(opened, "cuda") is None
    ended(opened, "cuda:1", 3000.0, TrialState.FAIL)
    ended(opened, "cuda", 800.0)
    assert worker_memory(opened, "cuda") == pytest.approx((1.25 * 3000 + 500) * MIB)
    assert worker_memory(opened, "cpu") == pytest.approx(1.25 * 2000 * MIB)


def test_a_searched_batch_may_yet_be_the_greatest(url: str) -> None:
    """Batches of 32 to 256, documents of at most 64 to 256 tokens: 32 times as many tokens in the greatest."""
    opened = make(url, space={"batch_size": {}, "max_length": {}})
    ended(opened, "cpu", 1000.0, batch_size=32, max_length=64)
    assert worker_memory(opened, "cpu") == pytest.approx(1.25 * 32_000 * MIB)
    ended(opened, "cpu", 1500.0, batch_size=128, max_length=128)
    assert worker_memory(opened, "cpu") == pytest.approx(1.25 * 6000 * MIB)  # the better forecast
    ended(opened, "cpu", 5000.0, batch_size=256, max_length=256)
    assert worker_memory(opened, "cpu") == pytest.approx(1.25 * 5000 * MIB)  # no forecast any more
