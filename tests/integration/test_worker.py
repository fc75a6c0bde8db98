"""One worker in this process: claims, limits, signals, failures, and what others see of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import TrialState

from gloss_tune.errors import DeviceFullError, DeviceLostError, GlossTuneError, NonFiniteLossError
from gloss_tune.faults import full_device_told
from gloss_tune.finetune.config import EpochReport, FinetuneConfig
from gloss_tune.finetune.rehearsal import Rehearsal
from gloss_tune.queue.budget import counts
from gloss_tune.queue.claims import claim
from gloss_tune.signals import StopFlag
from gloss_tune.study.objective import ask
from gloss_tune.study.status import status
from gloss_tune.study.status import trials as read_trials
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.runs import RehearsalRuns
from gloss_tune.workers.worker import work
from tests.integration.studies import age, join, make, trial_of

pytestmark = [pytest.mark.timeout(60), pytest.mark.prepared]


def run_worker(
    opened: OpenStudy, stop: StopFlag | None = None, make: type[Rehearsal] = Rehearsal, **options: Any
) -> int:
    return work(opened, WorkerOptions(**options), stop or StopFlag(), runs=RehearsalRuns(opened, make)).trials


def scripted(script: Callable[[int], Exception | None]) -> type[Rehearsal]:
    """Make the n-th trial of this process fail as scripted, after its first epoch."""
    number = iter(range(1_000_000))

    class Scripted(Rehearsal):
        def epochs(self) -> Iterator[EpochReport]:
            error = script(next(number))
            epochs = super().epochs()
            yield next(epochs)
            if error is not None:
                raise error
            yield from epochs

    return Scripted


def on_each_epoch(hook: Callable[[int], None]) -> type[Rehearsal]:
    """A fine-tune that calls a hook in each epoch."""

    class Hooked(Rehearsal):
        def epochs(self) -> Iterator[EpochReport]:
            for report in super().epochs():
                hook(report.epoch)
                yield report

    return Hooked


def test_a_worker_uses_up_the_budget_and_a_second_adds_nothing(storage_url: str) -> None:
    opened = make(storage_url, trials=6)
    assert run_worker(opened) == 6
    before = read_trials(opened)
    assert {row["state"] for row in before} <= {"complete", "pruned"}
    assert {row["attempts"] for row in before} == {1}
    assert run_worker(join(storage_url)) == 0
    assert read_trials(opened) == before


def test_limits_end_a_worker(url: str) -> None:
    opened = make(url, trials=6)
    assert run_worker(opened, max_trials=2) == 2
    assert run_worker(opened, timeout=0.0) == 0
    now = counts(opened.storage, opened.study_id)
    assert (now[TrialState.WAITING], now[TrialState.RUNNING]) == (4, 0)


def test_a_timeout_lets_the_running_trial_end(url: str) -> None:
    opened = make(url, trials=3)
    slow = on_each_epoch(lambda epoch: time.sleep(0.1))
    assert run_worker(opened, make=slow, timeout=0.15) == 1
    assert [row["state"] for row in read_trials(opened)] == ["complete", "waiting", "waiting"]


def test_every_row_says_who_ran_it(url: str) -> None:
    opened = make(url, trials=2)
    run_worker(opened)
    (worker,) = {row["worker"] for row in read_trials(opened)}
    assert worker


@pytest.mark.parametrize(("signum", "code"), [(15, 143), (2, 130)])
def test_a_signal_requeues_the_trial_with_what_it_reported(storage_url: str, signum: int, code: int) -> None:
    opened, stop = make(storage_url, trials=2), StopFlag()

    def strike(epoch: int) -> None:
        if epoch == 3:
            stop.set(signum)

    assert run_worker(opened, stop, on_each_epoch(strike)) == 0
    assert stop.exit_code == code
    interrupted = trial_of(opened, 0)
    assert interrupted.state == TrialState.WAITING
    assert sorted(interrupted.intermediate_values) == [1, 2, 3]
    assert status(opened)["workers"] == []
    params = interrupted.params

    assert run_worker(join(storage_url)) == 2
    done = read_trials(opened)
    assert (done[0]["params"], done[0]["attempts"], done[0]["state"]) == (params, 2, "complete")
    uninterrupted = Rehearsal(opened.spec.config(params))
    assert done[0]["epochs"] == len(list(uninterrupted.epochs()))
    assert uninterrupted.best is not None
    assert done[0]["value"] == uninterrupted.best.metrics["val_macro_f1"]


def test_a_signal_between_two_trials_claims_none(url: str) -> None:
    opened, stop = make(url, trials=3), StopFlag()

    def strike() -> None:
        stop.set(15)

    assert work(opened, WorkerOptions(), stop, strike).trials == 1
    assert counts(opened.storage, opened.study_id)[TrialState.WAITING] == 2


# ── failures ──


def test_expected_failures_do_not_stop_a_worker(url: str) -> None:
    opened = make(url, trials=5)
    broken = scripted(lambda n: NonFiniteLossError(f"trial {n}: nan"))
    assert run_worker(opened, make=broken) == 5
    rows = read_trials(opened)
    assert [row["state"] for row in rows] == ["fail"] * 5
    assert rows[3]["error"] == "NonFiniteLossError: trial 3: nan"


def test_three_unexpected_failures_in_a_row_stop_a_worker(url: str) -> None:
    opened = make(url, trials=8)
    broken = scripted(lambda n: RuntimeError(f"broken {n}") if n != 1 else None)
    with pytest.raises(GlossTuneError, match="broken 4") as caught:
        run_worker(opened, make=broken)
    assert caught.value.exit_code == 1
    states = [row["state"] for row in read_trials(opened)]
    assert states == ["fail", "complete", "fail", "fail", "fail", "waiting", "waiting", "waiting"]
    assert status(opened)["workers"] == []


@pytest.mark.parametrize(
    "error",
    [
        getattr(torch, "AcceleratorError", RuntimeError)(
            "CUDA error: an illegal memory access was encountered"
        ),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(…)`"),
    ],
)
def test_a_lost_device_ends_the_worker_and_fails_no_trial(url: str, error: Exception) -> None:
    opened = make(url, trials=3)
    runs = RehearsalRuns(opened, scripted(lambda n: error if n == 1 else None))
    finished: list[None] = []
    with pytest.raises(DeviceLostError, match=r"got CUDA error: .*; what was not finished") as caught:
        work(opened, WorkerOptions(), StopFlag(), lambda: finished.append(None), runs)
    assert caught.value.exit_code == 1
    assert len(finished) == 1
    first, lost, untouched = (trial_of(opened, number) for number in range(3))
    assert [trial.state.name for trial in (first, lost, untouched)] == ["COMPLETE", "WAITING", "WAITING"]
    assert "error" not in lost.user_attrs
    assert status(opened)["workers"] == []
    again = join(url)
    assert run_worker(again) == 2
    assert trial_of(again, 1).params == lost.params
    assert {row["state"] for row in read_trials(again)} == {"complete"}


def test_many_lost_devices_are_never_the_trials_failure(url: str) -> None:
    """As under MPS, where one process's fault takes the device from all."""
    make(url, trials=1)
    broken = scripted(lambda n: RuntimeError("CUDA error: unspecified launch failure") if n < 5 else None)
    for _ in range(5):
        with pytest.raises(DeviceLostError):
            run_worker(join(url), make=broken)
    assert run_worker(join(url), make=broken) == 1


def test_an_encoder_that_a_full_device_does_not_hold_claims_no_trial(url: str) -> None:
    opened = make(url, trials=2)
    loads: list[int] = []

    class Full(RehearsalRuns):
        device, loaded = "cuda:0", False

        def load(self) -> None:
            loads.append(counts(opened.storage, opened.study_id)[TrialState.RUNNING])
            with full_device_told(self.device):
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 90.00 MiB.")

    message = r"free memory of cuda:0, got CUDA out of memory.*nothing was begun"
    with pytest.raises(DeviceFullError, match=message):
        work(opened, WorkerOptions(), StopFlag(), runs=Full(opened))
    assert loads == [0]
    assert counts(opened.storage, opened.study_id)[TrialState.WAITING] == 2
    assert status(opened)["workers"] == []


# ── several workers ──


def test_a_worker_waits_for_the_others_and_takes_over(url: str) -> None:
    """The last trial runs elsewhere and its worker dies: whoever waits finishes it under its own number."""
    opened, other = make(url, trials=2, lease=2), join(url)
    lost = claim(other.storage, other.study_id, "lost")
    assert lost is not None
    _, params = ask(other, lost)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(run_worker, opened)
        deadline = time.monotonic() + 20
        while (
            trial_of(other, 1).state == TrialState.WAITING or trial_of(other, 1).state == TrialState.RUNNING
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)
        assert not waiting.done()
        age(other, 0, 3)
        assert waiting.result(timeout=20) == 2
    row = read_trials(opened)[0]
    assert (row["number"], row["params"], row["attempts"]) == (0, params, 2)
    assert row["state"] in ("complete", "pruned")


def test_a_worker_that_lost_its_trial_drops_it_and_goes_on(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    opened, other = make(url, trials=3), join(url)
    other.storage.engine.dispose()
    taken: list[int] = []

    def oversleep(epoch: int) -> None:
        if not taken and epoch == 2:
            from tests.integration.studies import expire

            age(other, 0, 100)
            assert expire(other.storage, other.study_id, 30, 10) == [0]
            heir = claim(other.storage, other.study_id, "heir")
            assert heir is not None
            taken.append(heir.number)

    logging.getLogger("gloss_tune").propagate = True
    with caplog.at_level(logging.INFO, "gloss_tune"), ThreadPoolExecutor(1) as pool:
        working = pool.submit(run_worker, opened, make=on_each_epoch(oversleep), max_trials=2)
        assert working.result(timeout=30) == 2
    assert taken == [0]
    rows = read_trials(opened)
    assert [(row["number"], row["state"]) for row in rows if row["number"] == 0] == [(0, "running")]
    assert rows[0]["worker"] == "heir"
    assert [r for r in caplog.records if "lease was lost" in r.getMessage()]


def test_workers_are_seen_while_they_work_and_not_after(url: str) -> None:
    opened, viewer = make(url, trials=1), join(url)
    seen: list[dict[str, Any]] = []
    run_worker(opened, make=on_each_epoch(lambda epoch: seen.append(status(viewer))))
    now = seen[1]
    assert now["state"] == "running"
    (worker,) = now["workers"]
    assert worker["trial"] == 0
    assert worker["device"] == "rehearsal"
    assert worker["pid"] > 0
    assert worker["host"]
    assert worker["id"]
    assert now["trials"] == {"budget": 1, "complete": 0, "pruned": 0, "failed": 0, "running": 1, "waiting": 0}
    after = status(viewer)
    assert (after["workers"], after["state"], after["seconds_to_go"]) == ([], "finished", 0.0)


def test_four_workers_share_a_budget_exactly(storage_url: str) -> None:
    make(storage_url, trials=13, train={"epochs": 2})
    start = threading.Barrier(4)

    def go(_: int) -> int:
        opened = join(storage_url)
        start.wait()
        return run_worker(opened)

    with ThreadPoolExecutor(4) as pool:
        finished = list(pool.map(go, range(4)))
    rows = read_trials(join(storage_url))
    assert sum(finished) == 13 == len(rows)
    assert {row["attempts"] for row in rows} == {1}
    assert len({tuple(row["params"].values()) for row in rows}) == 13


def test_the_same_study_gives_the_same_values_whoever_runs_it(tmp_path: Path) -> None:
    """One worker or the trials' own fine-tunes, run anew: equal to the last bit."""
    opened = make(f"sqlite:///{tmp_path}/a.db", trials=5, pruner="none", sampler="random")
    run_worker(opened)
    again = make(f"sqlite:///{tmp_path}/b.db", trials=5, pruner="none", sampler="random")
    run_worker(again)
    keep = ("number", "params", "value", "metrics")
    first, second = ([{k: row[k] for k in keep} for row in read_trials(o)] for o in (opened, again))
    assert first == second
    config: FinetuneConfig = opened.spec.config(first[3]["params"])
    rerun = Rehearsal(config)
    list(rerun.epochs())
    assert rerun.best is not None
    assert first[3]["value"] == rerun.best.metrics["val_macro_f1"]
