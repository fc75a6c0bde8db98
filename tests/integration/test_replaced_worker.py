"""A worker that leaves when nothing waits, and whose engine has put it in the place of one that may have been lost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from gloss_tune.clusters.launch import _nothing_to_run
from gloss_tune.queue.budget import counts
from gloss_tune.queue.claims import claim
from gloss_tune.signals import StopFlag
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.worker import Worked, work
from tests.integration.studies import age, join, make

pytestmark = [pytest.mark.timeout(60), pytest.mark.prepared]
LEASE = 2.0


@pytest.fixture
def lost(storage_url: str) -> OpenStudy:
    """A study whose only trial was claimed by a worker that gives no sign of life any more."""
    opened = make(storage_url, trials=1, lease=LEASE)
    assert claim(opened.storage, opened.study_id, "elsewhere") is not None
    return join(storage_url)


def worker(opened: OpenStudy, folder: Path) -> Worked:
    return work(opened, WorkerOptions(leave_when_empty=True, artifacts=folder), StopFlag())


@pytest.mark.parametrize(
    "variable", ["SLURM_RESTART_COUNT", "GLOSS_TUNE_FAILURES", "GLOSS_TUNE_IGNORED_FAILURES"]
)
def test_it_stays_until_the_lost_trial_is_back(
    variable: str, lost: OpenStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOSS_TUNE_JOB" if variable.startswith("GLOSS") else "SLURM_JOB_ID", "17")
    monkeypatch.setenv(variable, "1")
    assert worker(lost, tmp_path).trials == 1
    assert counts(lost.storage, lost.study_id)[TrialState.COMPLETE] == 1


def test_it_stays_no_longer_than_a_lease(
    lost: OpenStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setattr("gloss_tune.queue.recovery.silent_claims", lambda *_: [])  # it lives, and is slow
    begun = time.monotonic()
    left = worker(lost, tmp_path)
    assert left.trials == 0
    assert "no trial waits, 1 still run elsewhere" in left.why
    assert LEASE < time.monotonic() - begun < 5 * LEASE


def test_a_first_worker_leaves_at_once(
    lost: OpenStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "0")
    monkeypatch.setenv("GLOSS_TUNE_FAILURES", "")
    begun = time.monotonic()
    assert worker(lost, tmp_path).trials == 0
    assert time.monotonic() - begun < LEASE


def test_what_lost_workers_have_left_waits_before_a_cluster_is_asked(
    lost: OpenStudy,
) -> None:
    age(lost, 0, 10 * LEASE)
    assert not _nothing_to_run(lost)
    assert counts(lost.storage, lost.study_id)[TrialState.WAITING] == 1
