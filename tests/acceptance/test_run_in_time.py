"""``run --time``: from data to best parameters and report within the time; real processes, simulated trials."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.conftest import Commands

REHEARSAL = ("--dataset", "mr", "--rehearse", "--rehearse-seconds", 0.4, "--epochs", 4, "--study", "s")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_time_is_used_and_kept(on_storage: Commands, tmp_path: Path) -> None:
    begun = time.monotonic()
    done = on_storage("run", *REHEARSAL, "--time", "30s", "--output", tmp_path / "out")
    took = time.monotonic() - begun
    assert 15 <= took <= 45  # of 30, on a machine that may be busy
    exported = json.loads(done.stdout)
    assert exported == json.loads((tmp_path / "out" / "best.json").read_text())
    assert exported["confirmed"]["n"] >= 2
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!")
    assert not (tmp_path / "out" / "model").exists()  # a rehearsal trains none
    assert "over the customary setting" in done.stderr
    rows = on_storage.json("trials", "--study", "s")
    assert len(rows) == exported["trials"]["budget"] > 8
    assert rows[0]["params"]["learning_rate"] == 1e-4
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert plan["plan"]["seconds"] == pytest.approx(30, abs=5)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_run_that_was_stopped_goes_on(on_storage: Commands, tmp_path: Path) -> None:
    arguments = ("run", *REHEARSAL, "--trials", 8, "--time", "40s", "--output", tmp_path / "out")
    first = on_storage.start(*arguments)
    deadline = time.monotonic() + 40
    while "3 of 8" not in first.stderr and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send(signal.SIGTERM)
    first.ended(143, timeout=30)
    again = on_storage(*arguments)
    assert "goes on with study s" in again.stderr
    rows = on_storage.json("trials", "--study", "s")
    assert [row["number"] for row in rows] == list(range(8))
    assert {row["state"] for row in rows} <= {"complete", "pruned"}


@pytest.mark.timeout(60)
def test_without_a_time_all_that_was_asked_for_is_done(on_storage: Commands, tmp_path: Path) -> None:
    rehearsal = ("--dataset", "mr", "--rehearse", "--epochs", 2, "--study", "s", "--trials", 6)
    exported = json.loads(on_storage("run", *rehearsal, "--output", tmp_path / "out").stdout)
    assert exported["trials"]["budget"] == 6
    assert exported["confirmed"]["n"] == 5
    assert (tmp_path / "out" / "report.md").is_file()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--time", "soon", "--output", "out"), "--time takes a time such as 2h"),
        (("--time", "-5", "--output", "out"), "--time takes a time such as 2h"),
        (("--time", "0", "--output", "out"), "--time takes a time such as 2h"),
        (("--time", "10m"), "--output"),
        (("--time", "5s", "--output", "out"), "too short"),
        (("--time", "1h", "--output", "full"), "holds other files"),
        (("--time", "1h", "--output", "file.txt"), "is a file, not a folder"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    commands: Commands, tmp_path: Path, more: tuple[str, ...], said: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    (tmp_path / "file.txt").write_text("x")
    there = [str(tmp_path / word) if word in ("out", "full", "file.txt") else word for word in more]
    long = ("--dataset", "mr", "--rehearse", "--rehearse-seconds", 4, "--study", "s")
    refused = commands("run", *long, *there, exit_code=2)
    assert said in refused.stderr
    assert not (tmp_path / "out").exists()
    assert "does not exist" in commands("status", exit_code=2).stderr
