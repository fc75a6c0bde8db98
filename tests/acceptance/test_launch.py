"""A launched group: workers that stop with it, that are replaced when they die, and that outlive it by seconds at most.

Real processes and real signals.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy

from gloss_tune.study.opened import OpenStudy, open_study
from gloss_tune.study.reading import status as read_status
from gloss_tune.study.reading import trials as read_trials
from tests.acceptance.conftest import Commands, until
from tests.acceptance.processes import Process
from tests.conftest import CommandLine
from tests.servers import PostgresServer

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def here(commands: Commands) -> Commands:
    """Commands on an SQLite file."""
    commands.storage = f"sqlite:///{commands.folder}/study.db"
    return commands


def create(commands: Commands, trials: int, seconds: float = 0.0) -> OpenStudy:
    """A study of trials with ten epochs each."""
    commands(
        "create", "--dataset", "mr", "--rehearse", "--rehearse-seconds", seconds, "--trials", trials,
        "--pruner", "none", "--set", "train.patience=10", "--lease", 5,
    )  # fmt: skip
    assert commands.storage is not None
    return open_study(commands.storage, read_only=True)


def family(process: Process) -> list[psutil.Process]:
    """The launching process with all that it has started."""
    launching = psutil.Process(process.pid)
    return [launching, *launching.children(recursive=True)]


def gone(processes: list[psutil.Process]) -> Callable[[], bool]:
    return lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def working(opened: OpenStudy, count: int) -> Callable[[], list[dict[str, Any]]]:
    """The workers, once so many are at a trial."""

    def look() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = read_status(opened)["workers"]
        busy = [worker for worker in found if worker["trial"] is not None]
        return busy if len(busy) == count else []

    return look


def epochs(opened: OpenStudy) -> list[int]:
    """How many epochs each trial has reported."""
    return [row["epochs"] for row in read_trials(opened)]


def well_into_a_later_epoch(opened: OpenStudy, count: int) -> None:
    """Wait until so many trials have reported an epoch and taken up the next one."""
    until(lambda: sum(n > 0 for n in epochs(opened)) >= count)
    time.sleep(0.2)


def test_launched_workers_finish_the_exact_budget_and_nobody_stays(on_storage: Commands) -> None:
    opened = create(on_storage, trials=6, seconds=0.4)
    group = on_storage.start("launch", "--workers", 3)
    workers = until(working(opened, 3))
    processes = family(group)
    assert {worker["pid"] for worker in workers} < {process.pid for process in processes}
    for worker in workers:  # each in a session of its own: Ctrl-C in a terminal reaches the parent alone
        assert os.getsid(worker["pid"]) == worker["pid"]
    assert on_storage.storage is not None
    secret = sqlalchemy.make_url(on_storage.storage).password or "study.db"
    assert not [word for process in processes for word in process.cmdline() if str(secret) in word]
    group.ended(0)
    assert group.stdout == ""
    assert "6 of 6 trials finished (6 complete" in group.stderr
    assert all(f"worker {number}: Trial" in group.stderr for number in (1, 2, 3))
    until(gone(processes), timeout=5)

    again = on_storage("launch", "--workers", 3)
    assert "Nothing is left to run" in again.stderr
    rows = read_trials(opened)
    assert [row["state"] for row in rows] == ["complete"] * 6
    assert {row["attempts"] for row in rows} == {1}
    assert read_status(opened)["workers"] == []


@pytest.mark.parametrize("to_all", [False, True])
def test_a_group_told_to_stop_finishes_its_epochs_and_requeues(here: Commands, to_all: bool) -> None:
    """Slurm signals every process of a job: one notice too, and the process that forks the workers stays so long."""
    opened = create(here, trials=3, seconds=6)
    group = here.start("launch", "--workers", 2)
    well_into_a_later_epoch(opened, 2)
    processes = family(group)
    before = epochs(opened)
    for process in processes if to_all else processes[:1]:
        process.terminate()
    group.ended(143, timeout=10)
    assert group.stdout == ""
    assert (
        "Waiting for 2 workers to finish their epoch, at most 5 s; once more to stop at once." in group.stderr
    )
    assert group.stderr.count("finishing this epoch") == 2
    assert "Stopping" not in group.stderr
    assert epochs(opened) == [n + (n > 0) for n in before]
    now = read_status(opened)
    assert (now["trials"]["running"], now["trials"]["waiting"], now["workers"]) == (0, 3, [])
    until(gone(processes), timeout=5)


def test_a_second_signal_stops_the_group_at_once(here: Commands) -> None:
    opened = create(here, trials=2, seconds=300)
    group = here.start("launch", "--workers", 2, "--grace", 60)
    until(working(opened, 2))
    time.sleep(0.5)  # the first step of the first epoch
    group.send(signal.SIGINT)
    until(lambda: group.stderr.count("finishing this epoch") == 2)
    second = time.monotonic()
    group.send(signal.SIGTERM)
    group.ended(130, timeout=10)
    assert time.monotonic() - second < 5
    assert "Stopping 2 workers at once." in group.stderr
    now = read_status(opened)
    assert (now["trials"]["running"], now["trials"]["waiting"], now["workers"]) == (0, 2, [])


def test_a_killed_workers_place_is_taken_and_its_trial_goes_on(here: Commands) -> None:
    opened = create(here, trials=2, seconds=1)
    group = here.start("launch", "--workers", 2)
    victim = until(working(opened, 2))[0]
    psutil.Process(victim["pid"]).kill()
    until(lambda: "requeued" in group.stderr, timeout=5)
    group.ended(0)
    assert (
        "killed (SIGKILL), perhaps by the system for want of memory. Starting it again in 1 s."
        in group.stderr
    )
    rows = read_trials(opened)
    assert [row["state"] for row in rows] == ["complete"] * 2
    assert [row["attempts"] for row in rows if row["number"] == victim["trial"]] == [2]
    assert sum(row["attempts"] for row in rows) == 3


def test_a_worker_told_to_stop_by_someone_else_is_not_replaced(here: Commands) -> None:
    opened = create(here, trials=2, seconds=3)
    group = here.start("launch", "--workers", 1)
    (worker,) = until(working(opened, 1))
    psutil.Process(worker["pid"]).terminate()
    group.ended(143, timeout=15)
    assert "Starting it again" not in group.stderr
    assert read_status(opened)["trials"]["waiting"] == 2


def test_workers_whose_parent_was_killed_leave_by_themselves(here: Commands) -> None:
    opened = create(here, trials=3, seconds=4)
    group = here.start("launch", "--workers", 2)
    well_into_a_later_epoch(opened, 2)
    processes = family(group)
    assert len(processes) > 3
    group.kill()
    assert group.wait() == -signal.SIGKILL
    until(gone(processes), timeout=8)
    now = read_status(opened)
    assert (now["trials"]["running"], now["trials"]["waiting"], now["workers"]) == (0, 3, [])


@pytest.mark.postgres
def test_an_outage_of_the_storage_is_outlived(
    commands: Commands, postgres_url: str, postgres_server: PostgresServer
) -> None:
    commands.storage = postgres_url
    opened = create(commands, trials=3, seconds=1)
    group = commands.start("launch", "--workers", 2)
    until(working(opened, 2))
    with postgres_server.outage(crash=True):
        until(lambda: "The storage does not answer" in group.stderr)
    group.ended(0)
    assert group.stderr.count("The storage answers again") == 1
    assert "Starting it again" not in group.stderr
    assert [row["state"] for row in read_trials(opened)] == ["complete"] * 3


def test_limits_count_for_each_worker(here: Commands) -> None:
    opened = create(here, trials=6)
    here("launch", "--workers", 2, "--max-trials", 2)
    assert [row["state"] for row in read_trials(opened)].count("complete") == 4
    here("launch", "--timeout", 0)
    assert [row["state"] for row in read_trials(opened)].count("complete") == 4


def test_bad_input_starts_nothing(here: Commands) -> None:
    create(here, trials=1)
    run = ("run", "--dataset", "mr", "--rehearse", "--trials", 1)
    refusals: dict[str, tuple[object, ...]] = {
        "There is no study 'other'": ("launch", "--study", "other"),
        "does not exist": ("launch", "--storage", "sqlite:///missing.db"),
        "--device takes": ("launch", "--device", "cuda:0,gpu 1"),
        "one or more of cuda:N": (*run, "--device", ","),
        "--workers": ("launch", "--workers", 0),
    }
    started = {message: here.start(*arguments) for message, arguments in refusals.items()}
    for message, process in started.items():
        process.ended(2)
        assert message in " ".join(process.stderr.split())
        assert "Starting" not in process.stderr
    assert not (here.folder / "missing.db").exists()


def test_run_launches_workers_exports_and_goes_on_after_a_stop(here: Commands) -> None:
    arguments = (
        "run", "--workers", 2, "--dataset", "mr", "--rehearse", "--rehearse-seconds", 0.5, "--trials", 3,
        "--pruner", "none", "--set", "train.patience=10", "--lease", 5,
    )  # fmt: skip
    first = here.start(*arguments)
    until(lambda: "worker 1: Trial" in first.stderr and "worker 2: Trial" in first.stderr)
    first.send(signal.SIGINT)
    first.ended(130, timeout=10)
    assert first.stdout == ""
    second = here(*arguments)
    assert '"complete": 3' in second.stdout
    assert here.storage is not None
    assert len(read_trials(open_study(here.storage, read_only=True))) == 3


def test_a_module_started_from_nothing_launches_too(gloss_tune_cli: CommandLine, tmp_path: Path) -> None:
    """``python -m gloss_tune``: its children must find their way without running it again."""
    exported = gloss_tune_cli(
        "run", "--workers", 2, "--dataset", "mr", "--rehearse", "--trials", 2, "--lease", 5
    )
    assert '"budget": 2' in exported.stdout
    assert exported.stderr.count("worker 1: Worker leaves") == 1
