"""Workers that are steered from elsewhere, asked to leave, or have a deadline: in good order, with nothing lost.

Real processes and real signals; what concerns the storage, on both kinds.
"""

from __future__ import annotations

import os
import signal
import time

import optuna
import pytest

from gloss_tune.queue.claims import claim
from gloss_tune.study.status import status as read_status
from gloss_tune.study.status import trials as read_trials
from gloss_tune.study.study import OpenStudy, open_study
from tests.acceptance.conftest import Commands, until
from tests.integration.studies import trial_of

pytestmark = [pytest.mark.timeout(90), pytest.mark.prepared]
EPOCHS = 10


def create(commands: Commands, trials: int, seconds: float = 1.5) -> OpenStudy:
    """A study of slow enough trials: ten epochs each, heartbeats twice a second, one lost worker allowed."""
    commands(
        "create", "--dataset", "mr", "--rehearse", "--rehearse-seconds", seconds, "--trials", trials,
        "--lease", 2, "--pruner", "none", "--set", "train.patience=10", "--set", "max_attempts=1",
    )  # fmt: skip
    assert commands.storage is not None
    return open_study(commands.storage, read_only=True)


def counts(opened: OpenStudy) -> tuple[int, int, int]:
    now = read_status(opened)["trials"]
    return now["waiting"], now["running"], now["complete"]


def running_in_their_second_epoch(opened: OpenStudy, trials: int) -> None:
    until(lambda: all(len(trial_of(opened, number).intermediate_values) >= 2 for number in range(trials)))


def finished_whole(opened: OpenStudy, attempts: list[int]) -> None:
    rows = read_trials(opened)
    assert [(row["state"], row["epochs"]) for row in rows] == [("complete", EPOCHS)] * len(rows)
    assert [row["attempts"] for row in rows] == attempts
    for row in rows:
        assert "lost_workers" not in trial_of(opened, row["number"]).user_attrs


def no_epoch_was_repeated(opened: OpenStudy, before: dict[int, int], errors: str) -> None:
    for number, epochs in before.items():
        assert f"Trial {number} goes on after epoch {epochs}." in errors


def test_a_paused_study_is_quiet_and_goes_on_where_it_stood(on_storage: Commands) -> None:
    opened = create(on_storage, 3)
    workers = [on_storage.start("worker") for _ in range(2)]
    running_in_their_second_epoch(opened, 2)
    told = on_storage.json("pause")
    assert (told["steering"], told["before"], told["running"], told["waiting"]) == ("paused", None, 2, 1)
    assert "already" in on_storage("pause").stderr
    until(lambda: counts(opened) == (3, 0, 0), timeout=5)
    until(lambda: all("is paused; waiting" in worker.stderr for worker in workers))
    reached = {n: len(trial_of(opened, n).intermediate_values) for n in range(2)}
    now = on_storage.json("status")
    assert (now["state"], now["steering"], len(now["workers"])) == ("waiting", "paused", 2)
    assert "gloss-tune resume" in on_storage("status").stdout
    storage = optuna.storages.RDBStorage(on_storage.storage)
    study = optuna.load_study(study_name=opened.name, storage=storage)
    assert study.user_attrs["gloss_tune:steering"] == "paused"  # as the dashboard shows it
    storage.engine.dispose()
    latecomer = on_storage.start("worker", "--max-trials", 1)
    until(lambda: "is paused; waiting" in latecomer.stderr)
    assert counts(opened) == (3, 0, 0)
    assert on_storage.json("resume")["before"] == "paused"
    for worker in [*workers, latecomer]:
        worker.ended(0)
    finished_whole(opened, [2, 2, 1])
    no_epoch_was_repeated(opened, reached, "".join(worker.stderr for worker in [*workers, latecomer]))
    assert on_storage.json("status")["steering"] is None
    assert "nothing has changed" in on_storage("resume").stderr


def test_a_stopped_study_sends_its_workers_home_until_it_is_resumed(on_storage: Commands) -> None:
    opened = create(on_storage, 3)
    group = on_storage.start("launch", "--workers", 2)
    running_in_their_second_epoch(opened, 2)
    on_storage("stop")
    group.ended(0, timeout=10)
    assert "It is stopped, 3 trials waiting; 'gloss-tune resume" in group.stderr
    assert counts(opened) == (3, 0, 0)
    assert read_status(opened)["steering"] == "stopped"
    assert read_status(opened)["workers"] == []
    reached = {n: len(trial_of(opened, n).intermediate_values) for n in range(2)}
    for command in ("worker", "launch"):
        assert "'gloss-tune resume" in on_storage(command, timeout=10).stderr
    same = (
        "--dataset", "mr", "--rehearse", "--rehearse-seconds", 1.5, "--trials", 3, "--lease", 2, "--pruner", "none",
        "--set", "train.patience=10", "--set", "max_attempts=1",
    )  # fmt: skip
    assert on_storage.json("create", *same)["created"] is False
    result = on_storage("run", *same, exit_code=3)
    assert result.stdout == ""
    assert "is stopped with 3 trials waiting" in result.stderr
    on_storage("resume")
    whole = on_storage("launch", "--workers", 2)
    finished_whole(opened, [2, 2, 1])
    no_epoch_was_repeated(opened, reached, whole.stderr)


@pytest.mark.parametrize("command", [("worker",), ("launch", "--workers", 2)])
def test_notice_of_a_batch_system_ends_in_75_while_work_remains_and_then_in_0(
    commands: Commands, command: tuple[object, ...]
) -> None:
    """More often than a trial may lose its worker, and in an epoch that takes longer than the grace of a SIGTERM."""
    commands.storage = f"sqlite:///{commands.folder}/study.db"
    opened = create(commands, 2, 1.5)
    for _ in range(2):
        asked = commands.start(*command, "--grace", 0.1)
        reached = len(trial_of(opened, 0).intermediate_values)
        until(lambda r=reached: len(trial_of(opened, 0).intermediate_values) > r)
        asked.send(signal.SIGUSR1)
        asked.send(signal.SIGUSR1)  # the batch system tells every process of a job
        asked.ended(75, timeout=10)
        assert counts(opened) == (2, 0, 0)
        assert read_status(opened)["workers"] == []
    commands(*command)
    rows = read_trials(opened)
    assert [(row["state"], row["epochs"]) for row in rows] == [("complete", EPOCHS)] * 2
    commands(*command)


def test_a_worker_of_a_group_that_is_given_notice_itself_is_not_replaced(commands: Commands) -> None:
    commands.storage = f"sqlite:///{commands.folder}/study.db"
    opened = create(commands, 2, 2.0)
    group = commands.start("launch", "--workers", 2)
    running_in_their_second_epoch(opened, 2)
    for worker in read_status(opened)["workers"]:
        os.kill(worker["pid"], signal.SIGUSR1)
    group.ended(75, timeout=10)
    assert counts(opened) == (2, 0, 0)


@pytest.mark.parametrize("command", [("worker",), ("launch", "--workers", 2)])
def test_a_deadline_is_kept(commands: Commands, command: tuple[object, ...]) -> None:
    commands.storage = f"sqlite:///{commands.folder}/study.db"
    opened = create(commands, 2, 5.0)
    began = time.time()
    worker = commands(*command, "--until", 3, exit_code=75)
    assert time.time() < began + 3 + 6.0  # the processes start and end within it too
    assert counts(opened) == (2, 0, 0)
    assert 1 <= len(trial_of(opened, 0).intermediate_values) <= 6
    assert "--until" in worker.stderr
    refused = commands(*command, "--until", "yesterday", exit_code=2)
    assert "--until takes seconds" in refused.stderr


def test_no_trial_is_begun_that_cannot_finish_an_epoch(commands: Commands) -> None:
    commands.storage = f"sqlite:///{commands.folder}/study.db"
    opened = create(commands, 2, 2.0)
    commands("worker", "--max-trials", 1)
    leaves = commands("worker", "--until", 0.15, exit_code=75)
    assert "(--until)" in leaves.stderr
    assert read_trials(opened)[1]["attempts"] == 0
    commands("worker", "--until", 30)  # ends before, and nothing is left
    assert counts(opened) == (0, 0, 2)


def test_with_nothing_waiting_a_worker_leaves_if_it_is_to(on_storage: Commands) -> None:
    opened = create(on_storage, 2, 0.5)
    elsewhere = open_study(on_storage.storage)
    assert claim(elsewhere.storage, elsewhere.study_id, "elsewhere") is not None
    on_storage("worker", "--leave-when-empty")
    assert counts(opened) == (0, 1, 1)
    late = on_storage("launch", "--workers", 2, "--leave-when-empty")
    assert counts(opened) == (0, 1, 1)
    assert "--leave-when-empty" in late.stderr
