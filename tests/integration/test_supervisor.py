"""A supervised group from inside: what its workers may not survive, and what it must."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from gloss_tune.encoder import ResolvedEncoder
from gloss_tune.errors import (
    DeviceFullError,
    DeviceLostError,
    GlossTuneError,
    InputError,
    MachineError,
    StartAbandonedError,
    StorageAwayError,
)
from gloss_tune.launch import child as child_module
from gloss_tune.launch import policy, supervisor
from gloss_tune.launch import watch as watch_module
from gloss_tune.launch.child import Leaving, Order, StopOrder, TrialFinished, Why, work_for_parent
from gloss_tune.launch.starter import Starter
from gloss_tune.launch.supervisor import supervise
from gloss_tune.launch.watch import StudyWatch
from gloss_tune.logging import logger
from gloss_tune.queue.claims import claim, finish
from gloss_tune.signals import StopFlag
from gloss_tune.spec.build import build_spec
from gloss_tune.study.create import create
from gloss_tune.study.status import status, trial_counts
from gloss_tune.study.status import trials as read_trials
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.options import WorkerOptions
from tests.integration.studies import join, make

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def said() -> Iterator[Callable[[], str]]:
    """What this process has said; its workers speak for themselves."""
    messages: list[str] = []
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lambda: "\n".join(messages)
    logger.removeHandler(handler)
    logger.setLevel(level)


def starter(url: str, must_leave: Callable[[], bool] = lambda: False) -> Starter:
    return Starter(url, True, must_leave)


def until(condition: Callable[[], Any], timeout: float = 20) -> Any:
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def in_background(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_workers_with_other_data_end_the_group_with_one_error(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    reviews = tmp_path / "reviews"
    reviews.mkdir()
    lines = [f"a {word} film {i},{label}" for i in range(8) for word, label in (("good", "p"), ("bad", "n"))]
    for split in ("train", "val"):
        (reviews / f"{split}.csv").write_text("\n".join(["text,label", *lines, f"{split} only,p"]) + "\n")
    monkeypatch.setattr(
        "gloss_tune.study.encoder.resolve_encoder",
        lambda name, **_: ResolvedEncoder(name, Path("/nowhere"), "2:f1"),
    )
    monkeypatch.setattr("gloss_tune.study.create.try_encoder", lambda *_: "not tried")
    opened = create(build_spec({"dataset": str(reviews), "trials": 4}), url, "study").study
    shutil.rmtree(reviews)
    with pytest.raises(InputError, match="reviews"):
        supervise(opened, url, starter(url), ["cpu"] * 3, WorkerOptions(artifacts=tmp_path), StopFlag())
    assert "Starting it again" not in said()
    assert trial_counts(join(url))["waiting"] == 4


def test_a_study_that_its_workers_give_up_is_an_error_and_they_are_not_replaced(
    url: str, tmp_path: Path, said: Callable[[], str]
) -> None:
    opened = make(url, trials=3, max_failures=1)
    claimed = claim(opened.storage, opened.study_id, "w")
    assert claimed is not None
    finish(opened.storage, claimed, TrialState.FAIL, None, {"error": "a reason"})
    with pytest.raises(GlossTuneError, match="max_failures") as caught:
        supervise(opened, url, starter(url), ["cpu"] * 2, WorkerOptions(artifacts=tmp_path), StopFlag())
    assert caught.value.exit_code == 3
    assert "Starting it again" not in said()
    assert trial_counts(join(url))["waiting"] == 2


def test_the_loss_of_the_process_that_forks_workers_costs_no_trial(
    url: str, tmp_path: Path, said: Callable[[], str]
) -> None:
    """Its workers cannot be told from dead ones: they leave, and others take their places."""
    opened = make(url, trials=3, rehearse_seconds=1, pruner="none", train={"patience": 10}, lease=5)
    outside = join(url)
    codes: list[int] = []
    options = WorkerOptions(artifacts=tmp_path)
    group = in_background(
        lambda: codes.append(supervise(opened, url, starter(url), ["cpu"] * 2, options, StopFlag()))
    )
    workers = until(lambda: [w for w in status(outside)["workers"] if w["trial"] is not None])
    server = psutil.Process(workers[0]["pid"]).parent()
    assert server is not None
    assert "forkserver" in " ".join(server.cmdline())
    server.kill()
    group.join(40)
    assert codes == [0]
    assert "lost, since the process that started it was killed" in said()
    assert [row["state"] for row in read_trials(outside)] == ["complete"] * 3
    until(lambda: not any(psutil.pid_exists(worker["pid"]) for worker in workers))


def test_a_worker_that_always_dies_is_left_out_and_costs_the_others_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    """Worker 2 dies at every start, as on a broken device, while worker 1 finishes the study."""
    monkeypatch.setattr(policy, "_FIRST_PAUSE", 0.01)
    opened = make(url, trials=3, rehearse_seconds=1, pruner="none", train={"patience": 10})
    group = DyingGroup(url, {2})
    assert supervise(opened, url, group, ["cpu"] * 2, WorkerOptions(artifacts=tmp_path), StopFlag()) == 0
    assert group.started.count(2) == 5
    assert group.started.count(1) == 1
    assert said().count("Worker 2: ended with exit code 9 without a reason. Starting it again") == 4
    assert said().count("Worker 2: ended with exit code 9 without a reason. It is not started again.") == 1
    assert [(row["state"], row["attempts"]) for row in read_trials(join(url))] == [("complete", 1)] * 3


def test_a_group_whose_workers_always_die_ends_with_the_reason(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "_FIRST_PAUSE", 0.01)
    opened = make(url, trials=3)
    group = DyingGroup(url, {1, 2})
    with pytest.raises(
        GlossTuneError, match=r"died 5 times without finishing a trial.*exit code 9"
    ) as caught:
        supervise(opened, url, group, ["cpu"] * 2, WorkerOptions(artifacts=tmp_path), StopFlag())
    assert caught.value.exit_code == 1
    assert sorted(group.started) == [1] * 5 + [2] * 5
    assert trial_counts(join(url))["waiting"] == 3


class DyingGroup(Starter):
    """Starts workers of which some die at once."""

    def __init__(self, url: str, dying: set[int]) -> None:
        super().__init__(url, True, lambda: False)
        self.started: list[int] = []
        self._dying = dying

    def start(self, target: Callable[..., None], *arguments: Any) -> Any:
        self.started.append(arguments[0].worker)
        return super().start(_die if self.started[-1] in self._dying else target, *arguments)


def _die(order: Order, connection: Any) -> None:
    os._exit(9)


def test_a_group_stops_though_the_process_that_forked_its_workers_tells_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is suspended, and one worker was killed: no exit code arrives."""
    monkeypatch.setattr(supervisor, "_MARGIN_SECONDS", 1.0)
    monkeypatch.setattr(supervisor, "_AFTER_KILL_SECONDS", 0.5)
    opened = make(url, trials=2, rehearse_seconds=60, pruner="none")
    outside, stop, codes = join(url), StopFlag(), list[int]()
    options = WorkerOptions(artifacts=tmp_path, grace=0.5)
    group = in_background(
        lambda: codes.append(supervise(opened, url, starter(url), ["cpu"] * 2, options, stop))
    )
    workers = until(lambda: busy(outside, 2))
    victim = psutil.Process(workers[0]["pid"])
    server = victim.parent()
    assert server is not None
    server.suspend()
    victim.kill()
    stop.set(signal.SIGTERM)
    group.join(20)
    assert codes == [143]
    now = trial_counts(outside)
    assert (now["running"], now["waiting"]) == (0, 2)
    until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)


def busy(opened: OpenStudy, count: int) -> list[dict[str, Any]]:
    """The workers, if so many are at a trial."""
    found = [worker for worker in status(opened)["workers"] if worker["trial"] is not None]
    return found if len(found) == count else []


def test_a_start_is_given_up_when_the_group_must_leave(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    leaving = starter(url, lambda: True)
    monkeypatch.setattr(leaving, "_start", lambda *_: time.sleep(5))
    begun = time.monotonic()
    with pytest.raises(StartAbandonedError):
        leaving.start(_die)
    assert time.monotonic() - begun < 2


# ── a child on its own, with this test as its parent ──


@pytest.fixture
def child(url: str, tmp_path: Path) -> Iterator[tuple[Any, Any, OpenStudy]]:
    opened = make(url, trials=2, rehearse_seconds=60, pruner="none")
    order = Order(1, url, "study", WorkerOptions(artifacts=tmp_path, grace=30))
    process, connection = starter(url).start(work_for_parent, order)
    until(lambda: [w for w in status(opened)["workers"] if w["trial"] is not None])
    time.sleep(0.3)
    yield process, connection, opened
    process.kill()
    process.join()
    connection.close()


def test_two_signals_of_one_notice_and_the_parents_order_are_one(child: Any) -> None:
    process, connection, opened = child
    process.terminate()
    time.sleep(0.2)
    process.terminate()
    connection.send(StopOrder(15, at_once=False))
    process.join(2)
    assert process.is_alive()  # it finishes its epoch of six seconds
    connection.send(StopOrder(15, at_once=True))
    process.join(5)
    assert process.exitcode == 143
    assert connection.recv() == Leaving(Why.stopped)
    assert trial_counts(opened)["waiting"] == 2


def test_a_second_notice_is_one(child: Any) -> None:
    process, _, opened = child
    process.terminate()
    time.sleep(1.2)
    process.terminate()
    process.join(4)
    assert process.exitcode == 143
    assert trial_counts(opened)["waiting"] == 2


def test_a_child_tells_of_its_trials(url: str, tmp_path: Path) -> None:
    make(url, trials=2)
    order = Order(1, url, "study", WorkerOptions(artifacts=tmp_path))
    process, connection = starter(url).start(work_for_parent, order)
    process.join(20)
    assert process.exitcode == 0
    assert [connection.recv() for _ in range(3)] == [TrialFinished(), TrialFinished(), Leaving(Why.done)]
    connection.close()


def test_a_storage_that_is_away_is_waited_for(url: str, tmp_path: Path) -> None:
    """A server comes back; until then the worker hears its parent."""
    order = Order(1, "postgresql://me@127.0.0.1:1/db", "study", WorkerOptions(artifacts=tmp_path))
    process, connection = starter(url).start(work_for_parent, order)
    process.join(2)
    assert process.is_alive()
    connection.send(StopOrder(15, at_once=False))
    process.join(20)
    assert process.exitcode == 143
    assert connection.recv() == Leaving(Why.stopped)
    connection.close()


def test_a_storage_that_stays_away_is_no_wrong_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(*_: object) -> int:
        raise StorageAwayError("away")

    monkeypatch.setattr(child_module, "serve", serve)
    ours, theirs = multiprocessing.Pipe()
    leaving = child_module._work(Order(1, "sqlite://", "study", WorkerOptions()), theirs, StopFlag())
    assert leaving == Leaving(Why.crashed, "away")
    ours.close()
    theirs.close()


def test_a_storage_file_that_is_gone_is_wrong_input(url: str, tmp_path: Path) -> None:
    order = Order(1, f"sqlite:///{tmp_path / 'gone.db'}", "study", WorkerOptions(artifacts=tmp_path))
    process, connection = starter(url).start(work_for_parent, order)
    process.join(20)
    assert process.exitcode == 1
    assert connection.recv().why is Why.wrong_input
    connection.close()


@pytest.mark.parametrize("error", [DeviceLostError("lost"), DeviceFullError("full")])
def test_a_machines_trouble_is_a_death_after_which_a_worker_starts_again(
    error: MachineError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve(*_: object) -> int:
        raise error

    monkeypatch.setattr(child_module, "serve", serve)
    ours, theirs = multiprocessing.Pipe()
    leaving = child_module._work(Order(1, "sqlite://", "study", WorkerOptions()), theirs, StopFlag())
    assert leaving == Leaving(Why.crashed, str(error))
    ours.close()
    theirs.close()


# ── the watch ──


def test_a_storage_that_is_away_is_said_once_and_asked_again(
    url: str, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    opened = make(url, trials=2)
    now = trial_counts(opened)
    looks: list[str] = []
    away = threading.Event()
    away.set()

    def counts(of: OpenStudy) -> dict[str, int]:
        looks.append("away" if away.is_set() else "there")
        if away.is_set():
            raise OperationalError("SELECT 1", {}, Exception("connection refused"))
        return now

    requeued: list[bool] = []

    def requeue_lost(of: OpenStudy, *, only_gone: bool, children: Sequence[int]) -> None:
        assert only_gone, "after an outage, others must first renew their leases"
        assert list(children) == [123]
        requeued.append(away.is_set())
        if away.is_set():
            raise OperationalError("UPDATE", {}, Exception("connection refused"))

    monkeypatch.setattr(watch_module, "trial_counts", counts)
    monkeypatch.setattr(OpenStudy, "requeue_lost", requeue_lost)
    monkeypatch.setattr(watch_module, "_PAUSE", 0.02)
    watch = StudyWatch(opened, now)
    until(lambda: looks.count("away") >= 3)
    assert watch.away
    watch.requeue(123)
    until(lambda: requeued.count(True) >= 2)
    away.clear()
    until(lambda: not watch.away)
    assert watch.close(5) == now
    assert said().count("does not answer (connection refused)") == 1
    assert said().count("answers again") == 1
    assert requeued.count(False) == 1
