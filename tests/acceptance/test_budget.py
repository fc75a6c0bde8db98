"""The budget is exact, whoever starts how many workers and creations at once. Real processes."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.acceptance.conftest import Commands


def rows(commands: Commands) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = commands.json("trials")
    return found


@pytest.mark.timeout(120)
def test_eight_workers_end_with_exactly_twenty_trials_and_a_relaunch_adds_none(on_storage: Commands) -> None:
    on_storage("create", "--dataset", "mr", "--rehearse", "--trials", 20, "--epochs", 3)
    for _ in range(2):
        workers = [on_storage.start("worker") for _ in range(8)]
        for worker in workers:
            worker.ended(0, timeout=90)
        found = rows(on_storage)
        assert len(found) == 20
        assert {row["state"] for row in found} <= {"complete", "pruned"}
        assert {row["attempts"] for row in found} == {1}
        assert len({str(row["params"]) for row in found}) == 20
    status = on_storage.json("status")
    assert (status["state"], status["workers"]) == ("finished", [])


@pytest.mark.timeout(120)
def test_sixteen_simultaneous_creations_make_one_study(on_storage: Commands) -> None:
    creations = [
        on_storage.start("create", "--dataset", "mr", "--rehearse", "--trials", 5, "--format", "json")
        for _ in range(16)
    ]
    made = Counter(json.loads(creation.ended(0, timeout=90).stdout)["created"] for creation in creations)
    assert made == {True: 1, False: 15}
    assert len(rows(on_storage)) == 5


@pytest.mark.timeout(170)
def test_of_160_queued_trials_sixteen_workers_run_each_once(on_storage: Commands) -> None:
    study = "--rehearse --trials 160 --epochs 1 --loss ce --sampler random --pruner none"
    on_storage("create", "--dataset", "mr", *study.split())
    workers = [on_storage.start("worker") for _ in range(16)]
    for worker in workers:
        worker.ended(0, timeout=150)
    found = rows(on_storage)
    assert Counter(row["attempts"] for row in found) == {1: 160}
    assert Counter(row["state"] for row in found) == {"complete": 160}
    assert len({str(row["params"]) for row in found}) == 160
    finished = [
        line for worker in workers for line in worker.stderr.splitlines() if "best val_macro_f1" in line
    ]
    assert len(finished) == 160
    assert len({row["worker"] for row in found}) >= 8  # they did share the work


@pytest.mark.timeout(120)
def test_four_processes_extend_a_study_that_eight_workers_run(on_storage: Commands) -> None:
    on_storage(
        "create", "--dataset", "mr", "--rehearse", "--trials", 8, "--epochs", 3, "--rehearse-seconds", 0.5
    )
    workers = [on_storage.start("worker") for _ in range(8)]
    extensions = [on_storage.start("extend", "--trials", 5, "--format", "json") for _ in range(4)]
    totals = {json.loads(one.ended(0, timeout=60).stdout)["trials"] for one in extensions}
    assert totals == {13, 18, 23, 28}  # each saw those before it
    for worker in workers:
        worker.ended(0, timeout=90)
    on_storage("worker")  # for what was added after the last had left
    found = rows(on_storage)
    assert [row["number"] for row in found] == list(range(28))
    assert {row["state"] for row in found} <= {"complete", "pruned"}
    assert {row["attempts"] for row in found} == {1}
    assert len({str(row["params"]) for row in found}) == 28


def test_a_study_begins_from_another(commands: Commands) -> None:
    commands("create", "--dataset", "mr", "--rehearse", "--study", "a", "--trials", 4, "--epochs", 2)
    commands("worker")
    assert "--study" in commands("create", "--from", "a", exit_code=2).stderr
    assert "--from" in commands("create", "--dataset", "mr", "--import", exit_code=2).stderr
    commands("create", "--from", "a", "--study", "b", "--trials", 3)
    commands("worker", "--study", "b")
    first = commands.json("trials", "--study", "b")[0]
    best = commands.json("export", "--study", "a")["best"]
    assert first["params"] == {name: best["params"][name] for name in best["searched"]}
