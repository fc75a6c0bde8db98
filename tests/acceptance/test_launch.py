"""A launched group: workers that stop with it, that are replaced when they die, and that outlive it by seconds at most.

Real processes and real signals.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import sqlalchemy

from gloss_tune.cores import usable_cores
from gloss_tune.errors import InputError
from gloss_tune.study.status import status as read_status
from gloss_tune.study.status import trials as read_trials
from gloss_tune.study.study import OpenStudy, open_study
from gloss_tune.wording import count
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


def create(commands: Commands, trials: int, seconds: float = 0.0, study: str = "study") -> OpenStudy:
    """A study of trials with ten epochs each."""
    commands(
        "create", "--study", study, "--dataset", "mr", "--rehearse", "--rehearse-seconds", seconds, "--trials", trials,
        "--pruner", "none", "--set", "train.patience=10", "--lease", 5,
    )  # fmt: skip
    assert commands.storage is not None
    return open_study(commands.storage, study, read_only=True)


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


@pytest.mark.postgres
def test_launched_workers_finish_the_exact_budget_and_nobody_stays(
    commands: Commands, postgres_url: str
) -> None:
    commands.storage = postgres_url
    opened = create(commands, trials=6, seconds=0.3)
    group = commands.start("launch", "--workers", 3)
    workers = until(working(opened, 3))
    processes = family(group)
    assert {worker["pid"] for worker in workers} < {process.pid for process in processes}
    for worker in workers:  # each in a session of its own: Ctrl-C in a terminal reaches the parent alone
        assert os.getsid(worker["pid"]) == worker["pid"]
    secret = sqlalchemy.make_url(postgres_url).password
    assert secret
    assert not [word for process in processes for word in process.cmdline() if str(secret) in word]
    group.ended(0)
    assert group.stdout == ""
    assert "6 of 6 trials finished (6 complete" in group.stderr
    assert all(f"worker {number}: Trial" in group.stderr for number in (1, 2, 3))
    until(gone(processes), timeout=5)

    again = commands("launch", "--workers", 3)
    assert "Nothing is left to run" in again.stderr
    rows = read_trials(opened)
    assert [row["state"] for row in rows] == ["complete"] * 6
    assert {row["attempts"] for row in rows} == {1}
    assert read_status(opened)["workers"] == []


def test_groups_told_to_stop_finish_their_epochs_and_requeue(here: Commands) -> None:
    """Told by their parent; by Slurm, which signals every process of a job; by their parent's end; or by anybody."""
    ways = {"parent": 2, "all": 2, "orphans": 2, "one": 1}
    studies = {way: create(here, trials=3, seconds=10, study=way) for way in ways}
    groups = {way: here.start("launch", "--study", way, "--workers", ways[way]) for way in ways}
    into_an_epoch: dict[str, float] = {}
    families: dict[str, list[psutil.Process]] = {}
    before: dict[str, list[int]] = {}
    while len(before) < len(ways):
        for way in ways.keys() - before.keys():
            if sum(n > 0 for n in epochs(studies[way])) == ways[way]:
                into_an_epoch.setdefault(way, time.monotonic())
            if time.monotonic() - into_an_epoch.get(way, math.inf) > 0.2:
                families[way], before[way] = family(groups[way]), epochs(studies[way])
                assert len(families[way]) >= 3 + ways[way]
                tell(way, groups[way], families[way], studies[way])
        time.sleep(0.05)
    for way in ways:
        assert groups[way].wait(timeout=10) == (-signal.SIGKILL if way == "orphans" else 143)
        until(gone(families[way]), timeout=8)
        now = read_status(studies[way])
        assert (now["trials"]["running"], now["trials"]["waiting"], now["workers"]) == (0, 3, [])
        after = epochs(studies[way])
        assert [n > m for n, m in zip(after, before[way], strict=True)] == [m > 0 for m in before[way]]
        assert groups[way].stdout == ""
        assert groups[way].stderr.count("finishing this epoch") == ways[way]
        assert "Stopping" not in groups[way].stderr
        assert "Starting it again" not in groups[way].stderr
        assert "Traceback" not in groups[way].stderr
    said = "Waiting for 2 workers to finish their epoch, at most 5 s; once more to stop at once."
    assert [said in groups[way].stderr for way in ways] == [True, True, False, False]


def tell(way: str, group: Process, processes: list[psutil.Process], opened: OpenStudy) -> None:
    """In one of four ways, stop a group or let it lose its parent."""
    if way == "parent":
        group.send(signal.SIGTERM)
    elif way == "all":  # the process that forks the workers stays for as long as they do
        for process in processes:
            process.terminate()
    elif way == "orphans":
        group.kill()
    else:
        (worker,) = read_status(opened)["workers"]
        psutil.Process(worker["pid"]).terminate()


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


def test_a_killed_workers_place_is_taken_its_trial_goes_on_and_limits_count_for_each_place(
    here: Commands,
) -> None:
    opened = create(here, trials=5, seconds=0.7)
    group = here.start("launch", "--workers", 2, "--max-trials", 2)
    victim = until(working(opened, 2))[0]
    psutil.Process(victim["pid"]).kill()
    until(lambda: "requeued" in group.stderr, timeout=5)
    group.ended(0)
    assert (
        "killed (SIGKILL), perhaps by the system for want of memory. Starting it again in 1 s."
        in group.stderr
    )
    rows = read_trials(opened)
    assert [row["state"] for row in rows] == ["complete"] * 4 + ["waiting"]
    assert [row["attempts"] for row in rows if row["number"] == victim["trial"]] == [2]
    assert sum(row["attempts"] for row in rows) == 5
    here("launch", "--timeout", 0)
    assert read_status(opened)["trials"]["waiting"] == 1


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


def test_bad_input_starts_nothing(here: Commands) -> None:
    create(here, trials=1)
    run = ("run", "--dataset", "mr", "--rehearse", "--trials", 1)
    refusals: dict[str, tuple[object, ...]] = {
        "There is no study 'other'": ("launch", "--study", "other"),
        "does not exist": ("launch", "--storage", "sqlite:///missing.db"),
        "--device takes": ("launch", "--device", "cuda:0,gpu 1"),
        "one or more of cuda:N": (*run, "--device", ","),
        "--workers": ("launch", "--workers", 0),
        "exclude each other": ("launch", "--workers", 2, "--workers-per-device", 2),
        "and auto. Leave one": ("launch", "--workers", 2, "--workers-per-device", "auto"),
        "a number from 1 up": (*run, "--study", "unmade", "--workers-per-device", 0),
    }
    started = {message: here.start(*arguments) for message, arguments in refusals.items()}
    for message, process in started.items():
        process.ended(2)
        assert message in " ".join(process.stderr.split())
        assert "Starting" not in process.stderr
    assert not (here.folder / "missing.db").exists()
    assert here.storage is not None
    with pytest.raises(InputError, match="unmade"):
        open_study(here.storage, "unmade", read_only=True)


def test_auto_is_a_worker_for_each_core_where_memory_is_none_of_its_concern(here: Commands) -> None:
    workers = min(usable_cores(), 4)
    opened = create(here, trials=4, seconds=0.5)
    group = here.start("launch", "--workers-per-device", "auto")
    until(working(opened, workers))
    group.ended(0)
    chosen = count(workers, "worker")
    assert f"{chosen} for a rehearsal: {count(usable_cores(), 'core')}, 4 trials left." in group.stderr
    assert f"Starting {chosen} for a rehearsal." in group.stderr
    assert [row["state"] for row in read_trials(opened)] == ["complete"] * 4


def test_run_takes_workers_per_device_too(here: Commands) -> None:
    run = ("run", "--dataset", "mr", "--rehearse", "--trials", 3)
    done = here(*run, "--workers-per-device", 3)
    assert '"complete": 3' in done.stdout
    assert "Starting 3 workers for a rehearsal." in done.stderr


def test_run_launches_workers_exports_and_goes_on_after_a_stop(
    here: Commands, gloss_tune_cli: CommandLine
) -> None:
    """At last by ``python -m gloss_tune``, from nothing: its children must find their way without running it again."""
    arguments = (
        "run", "--workers", 2, "--dataset", "mr", "--rehearse", "--rehearse-seconds", 0.5, "--trials", 3,
        "--pruner", "none", "--set", "train.patience=10", "--lease", 5,
    )  # fmt: skip
    first = here.start(*arguments)
    until(lambda: "worker 1: Trial" in first.stderr and "worker 2: Trial" in first.stderr)
    first.send(signal.SIGINT)
    first.ended(130, timeout=10)
    assert first.stdout == ""
    assert here.storage is not None
    second = gloss_tune_cli(*arguments, "--storage", here.storage)
    assert '"complete": 3' in second.stdout
    assert second.stderr.count("worker 1: Worker leaves") == 1
    assert len(read_trials(open_study(here.storage, read_only=True))) == 3
