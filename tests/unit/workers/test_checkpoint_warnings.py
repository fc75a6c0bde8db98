"""A checkpoint that cannot be written is said once, with what to do, however many trials and epochs meet it."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gloss_tune.finetune import EpochReport
from gloss_tune.queue.claims import Claim
from gloss_tune.workers.artifacts import checkpoints
from gloss_tune.workers.artifacts.checkpoints import SavingCost, TrialCheckpoint

REPORTS = [EpochReport(1, {"val_macro_f1": 0.5}, is_best=True)]
NOBODY = 65534


class Run:
    def state_dict(self) -> dict[str, Any]:
        return {"epoch": 1}


def work(folder: Path, trials: range, cost: SavingCost) -> None:
    """Trials of three epochs each, whose state is to be kept after every one."""
    for number in trials:
        checkpoint = TrialCheckpoint(folder, "study", Claim(number, number, 1), lambda: True, cost)
        for _ in range(3):
            checkpoint.keep(Run(), REPORTS)  # type: ignore[arg-type]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("gloss_tune"), "propagate", True)


@pytest.fixture
def anothers(tmp_path: Path) -> Iterator[Path]:
    """A folder that somebody made under umask 077, as another member of the group finds it."""
    made = tmp_path / "checkpoints" / "study"
    made.mkdir(parents=True)
    tmp_path.chmod(0o755)
    if os.geteuid():
        made.chmod(0o500)
        yield tmp_path
        made.chmod(0o700)
        return
    made.chmod(0o700)
    for parent in tmp_path.parents:  # pytest's own are for their owner alone
        if parent.name.startswith("pytest-"):
            parent.chmod(0o755)
    os.seteuid(NOBODY)
    yield tmp_path
    os.seteuid(0)


def test_of_another_user_under_umask_077(anothers: Path, caplog: pytest.LogCaptureFixture) -> None:
    work(anothers, range(4), SavingCost())
    (warning,) = said(caplog)
    assert "Permission denied" in warning
    assert "chmod -R g+rwX" in warning
    assert "umask 002" in warning
    assert "--artifacts" in warning


def test_another_reason_is_said_as_well_and_a_cure_forgets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cost, failing = SavingCost(), [errno.ENOSPC]

    def save(path: Path, state: object) -> None:
        if failing:
            raise OSError(failing[0], os.strerror(failing[0]))

    monkeypatch.setattr(checkpoints, "save_checkpoint", save)
    work(tmp_path, range(2), cost)
    failing[0] = errno.EDQUOT
    work(tmp_path, range(2), cost)
    assert ["No space" in text for text in said(caplog)] == [True, False]
    failing.clear()
    work(tmp_path, range(2), cost)
    failing.append(errno.ENOSPC)
    work(tmp_path, range(2), cost)
    assert len(said(caplog)) == 3
