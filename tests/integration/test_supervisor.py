"""A supervised group from inside: what its workers may not survive, and what it must."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy.exc import OperationalError

from gloss_tune.encoder import ResolvedEncoder
from gloss_tune.errors import GlossTuneError, InputError
from gloss_tune.logging import logger
from gloss_tune.study.create import create
from gloss_tune.study.opened import OpenStudy
from gloss_tune.study.reading import status, trial_counts
from gloss_tune.study.reading import trials as read_trials
from gloss_tune.study.spec import build_spec
from gloss_tune.workers.launch import watch as watch_module
from gloss_tune.workers.launch.child import Leaving, Order, StopOrder, TrialFinished, Why, work_for_parent
from gloss_tune.workers.launch.starter import StartAbandonedError, Starter
from gloss_tune.workers.launch.supervisor import supervise
from gloss_tune.workers.launch.watch import StudyWatch
from gloss_tune.workers.signals import StopFlag
from gloss_tune.workers.worker import WorkerOptions
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
        "gloss_tune.study.create.resolve_encoder", lambda name: ResolvedEncoder(name, Path("/nowhere"), "f1")
    )
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
    with opened.storage.transaction() as session:
        from optuna.storages._rdb import models
        from optuna.trial import TrialState

        session.query(models.TrialModel).filter_by(number=0).update({"state": TrialState.FAIL})
    with pytest.raises(GlossTuneError, match="max_failures") as caught:
        supervise(opened, url, starter(url), ["cpu"] * 2, WorkerOptions(artifacts=tmp_path), StopFlag())
    assert caught.value.exit_code == 1
    assert "Starting it again" not in said()
    assert trial_counts(join(url))["waiting"] == 2


def test_the_loss_of_the_process_that_forks_workers_costs_no_trial(
    url: str, tmp_path: Path, said: Callable[[], str]
) -> None:
    """Its workers cannot be told from dead ones: they leave, and others take their places."""
    opened = make(url, trials=4, rehearse_seconds=2, pruner="none", train={"patience": 10}, lease=5)
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
    assert [row["state"] for row in read_trials(outside)] == ["complete"] * 4
    until(lambda: not any(psutil.pid_exists(worker["pid"]) for worker in workers))


def test_a_start_is_given_up_when_the_group_must_leave(url: str) -> None:
    begun = time.monotonic()
    with pytest.raises(StartAbandonedError):
        starter(url, lambda: True).ask(_sleep_long)
    assert time.monotonic() - begun < 10


def _sleep_long() -> None:
    time.sleep(60)


def test_what_a_process_cannot_answer_is_said(url: str) -> None:
    with pytest.raises(GlossTuneError, match="exit code 3"):
        starter(url).ask(_leave_with_three)
    assert starter(url).ask(_three) == 3


def _leave_with_three() -> None:
    raise SystemExit(3)


def _three() -> int:
    return 3


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


def test_a_storage_that_went_away_is_no_wrong_input(url: str, tmp_path: Path) -> None:
    order = Order(1, url, "study", WorkerOptions(artifacts=tmp_path))
    process, connection = starter(url).start(work_for_parent, order)
    process.join(20)
    assert process.exitcode == 1
    assert connection.recv().why is Why.crashed
    connection.close()


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

    def requeue_lost(of: OpenStudy) -> list[int]:
        requeued.append(away.is_set())
        if away.is_set():
            raise OperationalError("UPDATE", {}, Exception("connection refused"))
        return [1]

    monkeypatch.setattr(watch_module, "trial_counts", counts)
    monkeypatch.setattr(watch_module, "requeue_lost", requeue_lost)
    monkeypatch.setattr(watch_module, "_PAUSE", 0.02)
    watch = StudyWatch(opened, now)
    until(lambda: looks.count("away") >= 3)
    assert watch.away
    watch.requeue()
    until(lambda: requeued.count(True) >= 2)
    away.clear()
    until(lambda: not watch.away)
    assert watch.close(5) == now
    assert said().count("does not answer (connection refused)") == 1
    assert said().count("answers again") == 1
    assert requeued.count(False) == 1
    assert said().count("Trial 1: its worker is gone; requeued.") == 1
