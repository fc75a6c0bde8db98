"""A confirmation whose workers are killed or told to stop: each run counts once. Real processes and real signals."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections import Counter
from typing import Any

import pytest

from gloss_tune.confirm.confirmation import confirmation_of
from gloss_tune.finetune.rehearsal import Rehearsal
from gloss_tune.study.status import status as read_status
from gloss_tune.study.status import trials as read_trials
from gloss_tune.study.study import OpenStudy, open_study
from tests.acceptance.conftest import Commands, until

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def here(commands: Commands) -> Commands:
    """Commands on an SQLite file with a finished study of two trials, four epochs each."""
    commands.storage = f"sqlite:///{commands.folder}/study.db"
    commands(
        "create", "--study", "study", "--dataset", "mr", "--rehearse", "--rehearse-seconds", 0.4, "--trials", 2,
        "--epochs", 4, "--pruner", "none", "--lease", 2,
    )  # fmt: skip
    commands("worker")
    return commands


def confirmation(commands: Commands) -> OpenStudy | None:
    assert commands.storage is not None
    return confirmation_of(open_study(commands.storage, "study", read_only=True))


def check_exact(commands: Commands, ranked: dict[str, Any], top: int, seeds: int) -> list[dict[str, Any]]:
    """Every candidate with every seed once, each with the result of the undisturbed run."""
    child = confirmation(commands)
    assert child is not None
    rows = read_trials(child)
    assert [row["number"] for row in rows] == list(range(top * seeds))
    assert {row["state"] for row in rows} == {"complete"}
    queued = child.storage.get_all_trials(child.study_id)
    assert Counter((t.user_attrs["candidate"], t.params["seed"]) for t in queued) == dict.fromkeys(
        itertools.product([row["number"] for row in ranked["candidates"]], ranked["seeds"]), 1
    )
    for row in rows:
        run = Rehearsal(child.spec.config(row["params"]))
        list(run.epochs())
        assert run.best is not None
        assert row["value"] == run.best.metrics["val_macro_f1"]
    assert [row["n"] for row in ranked["candidates"]] == [seeds] * top
    assert ranked["state"] == "finished"
    return rows


def test_a_killed_worker_costs_a_confirmation_nothing(here: Commands) -> None:
    confirming = here.start("confirm", "--top", 2, "--seeds", 4, "--workers", 2, "--format", "json")
    child = until(lambda: confirmation(here))
    victim = until(
        lambda: next(
            (w for w in read_status(child)["workers"] if w["trial"] is not None and w["epoch"]), None
        )
    )
    os.kill(victim["pid"], signal.SIGKILL)
    rows = check_exact(here, json.loads(confirming.ended(0).stdout), top=2, seeds=4)
    attempts = Counter(row["attempts"] for row in rows)
    assert attempts in ({1: 7, 2: 1}, {1: 8})  # it may just have told its result
    assert "Starting it again" in confirming.stderr


def test_a_confirmation_told_to_stop_goes_on_when_repeated_and_grows(here: Commands) -> None:
    first = here.start("confirm", "--top", 1, "--seeds", 3)
    until(lambda: "Trial 1:" in first.stderr)
    first.send(signal.SIGTERM)
    first.ended(143, timeout=10)
    assert first.stdout == ""
    queued = here.json("confirm", "--queue-only")
    assert (queued["state"], queued["trials"]["complete"]) == ("waiting", 1)

    elsewhere = here.start("worker", "--study", "study.confirm")
    ranked = here.json("confirm", "--top", 2)
    elsewhere.ended(0)
    check_exact(here, ranked, top=2, seeds=3)
    again = here("confirm")
    assert "Trial" in again.stdout
    assert "within noise" in again.stdout or "beyond noise" in again.stdout
    assert "is there already, 2 settings with 3 seeds each" in again.stderr
    assert here.json("status")["study"] == "study"


def test_the_export_says_whether_it_is_confirmed(here: Commands) -> None:
    plain = here("export")
    here("confirm", "--top", 2, "--seeds", 2, "--queue-only")
    waiting = here("export")
    assert waiting.stdout == plain.stdout
    assert "no result yet" in waiting.stderr
    ranked = here.json("confirm")
    confirmed = here("export")
    exported = json.loads(confirmed.stdout)
    assert exported["best"]["number"] == exported["confirmed"]["number"] == ranked["candidates"][0]["number"]
    assert ranked["verdict"] in confirmed.stderr
    assert json.loads(here("export", "--unconfirmed").stdout) == json.loads(plain.stdout)


def test_wrong_input_is_refused_plainly(commands: Commands) -> None:
    commands.storage = f"sqlite:///{commands.folder}/study.db"
    commands("confirm", exit_code=2)
    assert list(commands.folder.iterdir()) == []
    commands("create", "--dataset", "mr", "--rehearse", "--trials", 2)
    for arguments in (
        (),
        ("--top", 0),
        ("--seeds", 1),
        ("--study", "other"),
        ("--workers", 0),
        ("--seeds", "x"),
    ):
        refused = commands("confirm", *arguments, exit_code=2)
        assert refused.stdout == ""
        assert refused.stderr
    commands("export", "--trial", 0, exit_code=1)
