"""Clocks that are set while workers work, on SQLite, where each process reads the clock that it sees."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from gloss_tune.study.status import status as read_status
from gloss_tune.study.status import trials as read_trials
from gloss_tune.study.study import OpenStudy, open_study
from tests.acceptance.conftest import until
from tests.acceptance.faked_clock import Clock, clock
from tests.conftest import CommandLine
from tests.integration.studies import trial_of

__all__ = ["clock"]
pytestmark = pytest.mark.timeout(120)

LEASE = 2


def create(command_line: CommandLine, url: str, trials: int, seconds: float) -> OpenStudy:
    command_line(
        "create", "--dataset", "mr", "--rehearse", "--rehearse-seconds", seconds, "--trials", trials, "--lease", LEASE,
        "--pruner", "none", "--sampler", "random", "--set", "train.patience=10", "--storage", url,
    )  # fmt: skip
    return open_study(url, read_only=True)


@pytest.mark.parametrize(
    "steps",
    [
        ["-1h", "+1h", "-3h"],
        pytest.param(["-1h"], marks=pytest.mark.slow),
        pytest.param(["+1h"], marks=pytest.mark.slow),
        pytest.param(["+400d", "-400d"], marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_clock_that_is_set_costs_no_live_trial(
    gloss_tune_cli: CommandLine, tmp_path: Path, clock: Clock, steps: list[str]
) -> None:
    """One of two workers, whose clock is set while it works; a third comes when it was set."""
    url = f"sqlite:///{tmp_path}/study.db"
    opened = create(gloss_tune_cli, url, trials=10, seconds=1.5)
    workers = [gloss_tune_cli.popen("worker", "--storage", url, env=env) for env in (clock.environment, {})]
    until(lambda: len(read_status(opened)["workers"]) == 2)
    for step in steps:
        time.sleep(0.6)
        clock.set(step)
    workers.append(gloss_tune_cli.popen("worker", "--storage", url, env=clock.environment))
    for worker in workers:
        _, said = worker.communicate(timeout=90)
        assert worker.returncode == 0, said
        assert "lease was lost" not in said
        assert "requeued" not in said
    rows = read_trials(opened)
    assert [row["state"] for row in rows] == ["complete"] * 10
    assert [row["attempts"] for row in rows] == [1] * 10


@pytest.mark.parametrize("ahead", ["+1h", pytest.param("-1h", marks=pytest.mark.slow)])
def test_a_dead_workers_trial_waits_no_longer_for_a_wrong_clock(
    gloss_tune_cli: CommandLine, tmp_path: Path, clock: Clock, ahead: str
) -> None:
    """It wrote by a clock an hour off, and was killed: its heartbeats are neither of the future nor long past."""
    url = f"sqlite:///{tmp_path}/study.db"
    opened = create(gloss_tune_cli, url, trials=1, seconds=3)
    clock.set(ahead)
    first = gloss_tune_cli.popen("worker", "--storage", url, env=clock.environment)
    until(lambda: len(trial_of(opened, 0).intermediate_values) >= 1)
    time.sleep(LEASE / 2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    began = time.monotonic()
    gloss_tune_cli("worker", "--storage", url)
    assert time.monotonic() - began < 3 * LEASE + 15
    (row,) = read_trials(opened)
    assert (row["state"], row["attempts"]) == ("complete", 2)
