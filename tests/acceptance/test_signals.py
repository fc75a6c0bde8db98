"""Workers that are told to stop, killed, or put to sleep: nothing is lost and nothing counts twice.

Real processes and real signals, on both kinds of storage.
"""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gloss_tune.finetune.rehearsal import Rehearsal
from gloss_tune.queue.claims import claim
from gloss_tune.study.status import status as read_status
from gloss_tune.study.status import trials as read_trials
from gloss_tune.study.study import OpenStudy, open_study
from tests.acceptance.conftest import Commands, until
from tests.acceptance.processes import Process
from tests.integration.studies import trial_of

pytestmark = [pytest.mark.timeout(90), pytest.mark.prepared]
SECONDS = 1.5


def create(commands: Commands, trials: int = 1, seconds: float = SECONDS) -> OpenStudy:
    """A study of slow enough trials: ten epochs each, leases of two seconds."""
    commands(
        "create", "--dataset", "mr", "--rehearse", "--rehearse-seconds", seconds, "--trials", trials,
        "--lease", 2, "--pruner", "none", "--set", "train.patience=10",
    )  # fmt: skip
    assert commands.storage is not None
    return open_study(commands.storage, read_only=True)


def epochs_reported(opened: OpenStudy, number: int = 0) -> int:
    return len(trial_of(opened, number).intermediate_values)


def expected_value(opened: OpenStudy, row: dict[str, Any]) -> float:
    """What the uninterrupted trial reaches, to the last bit."""
    run = Rehearsal(opened.spec.config(row["params"]))
    list(run.epochs())
    assert run.best is not None
    return run.best.metrics["val_macro_f1"]


def freeze(process: Process, storage: str) -> None:
    """Suspend a process between two transactions, as most moments are: it must not sleep on the database's lock."""

    def holds_a_lock() -> bool:
        if storage.startswith("sqlite"):
            connection = sqlite3.connect(
                storage.removeprefix("sqlite:///"), timeout=0.1, isolation_level=None
            )
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            except sqlite3.OperationalError:
                return True
            finally:
                connection.close()
            return False
        with psycopg.connect(storage.replace("+psycopg", "")) as connection:
            found = connection.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
            ).fetchone()
            return found is not None and found[0] > 0

    for _ in range(50):
        process.send(signal.SIGSTOP)
        time.sleep(0.05)
        if not holds_a_lock():
            return
        process.send(signal.SIGCONT)
        time.sleep(0.07)
    raise AssertionError("the process holds a lock at every moment")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_worker_told_to_stop_leaves_its_trial_waiting(on_storage: Commands, signum: int, code: int) -> None:
    opened = create(on_storage)
    worker = on_storage.start("worker")
    until(lambda: epochs_reported(opened) >= 2)
    worker.send(signum)
    worker.ended(code, timeout=10)
    assert worker.stdout == ""
    now = read_status(opened)
    assert (now["trials"]["waiting"], now["trials"]["running"], now["workers"]) == (1, 0, [])
    params = trial_of(opened, 0).params

    on_storage("worker")
    (row,) = read_trials(opened)
    assert (row["state"], row["attempts"], row["params"]) == ("complete", 2, params)
    assert row["value"] == expected_value(opened, row)
    assert row["epochs"] == 10


def test_a_killed_workers_trial_is_finished_by_another_under_its_own_number(on_storage: Commands) -> None:
    opened = create(on_storage)
    victim = on_storage.start("worker")
    until(lambda: epochs_reported(opened) >= 2)
    heir = on_storage.start("worker")
    until(lambda: len(read_status(opened)["workers"]) == 2)
    params = trial_of(opened, 0).params
    victim.send(signal.SIGKILL)
    killed = time.monotonic()
    assert victim.wait() == -signal.SIGKILL
    until(lambda: trial_of(opened, 0).user_attrs["attempts"] == 2, timeout=12)
    assert time.monotonic() - killed < 2 + 10
    heir.ended(0)
    (row,) = read_trials(opened)
    assert (row["number"], row["state"], row["attempts"], row["params"]) == (0, "complete", 2, params)
    assert row["value"] == expected_value(opened, row)
    assert "silent" in heir.stderr
    assert read_status(opened)["trials"]["budget"] == 1


def test_a_worker_that_oversleeps_drops_its_result_and_goes_on(on_storage: Commands, tmp_path: Path) -> None:
    """Suspended past its lease, reaped, continued: exit code 0, one result a trial."""
    opened = create(on_storage, trials=3, seconds=1.0)
    sleeper = on_storage.start("worker")
    until(lambda: epochs_reported(opened) >= 2)
    assert on_storage.storage is not None
    freeze(sleeper, on_storage.storage)
    heir = on_storage.start("worker")
    until(lambda: trial_of(opened, 0).user_attrs["attempts"] == 2, timeout=40)
    first_life = trial_of(opened, 0).user_attrs["worker"]
    sleeper.send(signal.SIGCONT)
    sleeper.ended(0)
    heir.ended(0)
    rows = read_trials(opened)
    assert [row["state"] for row in rows] == ["complete"] * 3
    assert [row["attempts"] for row in rows] == [2, 1, 1]
    assert rows[0]["worker"] == first_life
    assert f"-{heir.pid}-" in first_life
    for row in rows:
        assert row["value"] == expected_value(opened, row)
    assert "lease was lost" in sleeper.stderr
    assert "lease was lost" not in heir.stderr
    finished = [line for w in (sleeper, heir) for line in w.stderr.splitlines() if "complete, best" in line]
    assert len(finished) == 3


@pytest.mark.parametrize(
    "command", [("worker",), ("launch",), ("run", "--dataset", "mr", "--rehearse", "--trials", 1)]
)
def test_a_second_signal_ends_what_waits_for_a_lock(commands: Commands, command: tuple[object, ...]) -> None:
    """Inside SQLite, where no handler of Python's runs, and before any trial is begun."""
    commands.storage = f"sqlite:///{commands.folder}/study.db"
    opened = create(commands)
    with contextlib.closing(sqlite3.connect(commands.folder / "study.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        waiting = commands.start(*command)
        time.sleep(1.0)
        assert waiting.poll() is None
        waiting.send(signal.SIGINT)
        time.sleep(0.5)
        assert waiting.poll() is None
        waiting.send(signal.SIGTERM)
        waiting.ended(130, timeout=3)
    assert waiting.stderr.endswith("SIGINT: stopped at once.\n")
    assert read_status(opened)["trials"]["waiting"] == 1


def test_a_waiting_worker_leaves_when_told(commands: Commands) -> None:
    """The last trial runs elsewhere: it waits for that, and stops waiting at once."""
    commands.storage = f"sqlite:///{commands.folder}/study.db"
    commands("create", "--dataset", "mr", "--rehearse", "--trials", 1)
    elsewhere = open_study(commands.storage)
    assert claim(elsewhere.storage, elsewhere.study_id, "here") is not None
    worker = commands.start("worker")
    until(lambda: read_status(elsewhere)["workers"])
    time.sleep(0.5)
    assert worker.poll() is None
    worker.send(signal.SIGTERM)
    worker.ended(143, timeout=5)
    assert read_status(elsewhere)["trials"]["running"] == 1


def test_run_told_to_stop_leaves_its_trial_waiting_and_goes_on_when_repeated(commands: Commands) -> None:
    commands.storage = f"sqlite:///{commands.folder}/study.db"
    arguments = (
        "run",
        "--dataset",
        "mr",
        "--rehearse",
        "--rehearse-seconds",
        1,
        "--trials",
        2,
        "--pruner",
        "none",
    )
    first = commands.start(*arguments)
    until(lambda: (commands.folder / "study.db").exists() and "Trial 1" in first.stderr)
    first.send(signal.SIGTERM)
    first.ended(143, timeout=10)
    assert first.stdout == ""
    opened = open_study(commands.storage, read_only=True)
    assert [row["state"] for row in read_trials(opened)] == ["complete", "waiting"]
    second = commands(*arguments)
    assert '"complete": 2' in second.stdout
    assert [row["attempts"] for row in read_trials(opened)] == [1, 2]
