"""A real Slurm of two nodes on this host: every trial ends once, whatever Slurm does to the jobs."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.cluster_study import ClusterStudy
from tests.acceptance.conftest import until
from tests.slurm import Slurm, SlurmUnavailableError

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.prepared, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    try:
        slurm = Slurm()
    except SlurmUnavailableError as error:
        pytest.skip(f"no Slurm: {error}")
    yield slurm
    slurm.close()


class Study(ClusterStudy):
    """A study whose workers Slurm runs."""

    def __init__(self, slurm: Slurm, url: str, trials: int, seconds: float) -> None:
        self.slurm = slurm
        super().__init__(slurm, "slurm", url, trials, seconds)

    def jobs(self, job: str) -> dict[str, str]:
        return {name: state for name, state in self.slurm.jobs().items() if name.startswith(f"{job}_")}

    def all_jobs_end(self, job: str, seconds: float = 150) -> dict[str, str]:
        """Their states at the end; what Slurm holds back after a requeue starts at once."""
        ended = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED"}

        def states() -> dict[str, str] | None:
            self.slurm.start_requeued()
            found = self.jobs(job)
            return found if found and set(found.values()) <= ended else None

        return until(states, timeout=seconds, pause=0.5)

    def log(self, job: str) -> str:
        return "".join(file.read_text() for file in sorted(self.artifacts.glob(f"launch/*/{job}_*.log")))


@pytest.fixture
def study(cluster: Slurm, postgres_url: str) -> Callable[[int, float], Study]:
    return lambda trials, seconds: Study(cluster, postgres_url, trials, seconds)


@contextmanager
def high_priority(slurm: Slurm, cpus: int) -> Iterator[str]:
    """Somebody's job in the partition that preempts the other."""
    job = slurm("sbatch", "--parsable", "--partition=high", f"--ntasks={cpus}", "--wrap=sleep 60").strip()
    yield job
    slurm("scancel", job)


def test_an_array_with_a_limit_shorter_than_the_study(study: Callable[[int, float], Study]) -> None:
    run = study(4, 24)
    # Slurm's shortest limit is a minute; the signal comes up to half a minute late
    job = run.launch("--workers", 2, "--time", 1, "--sbatch-arg=--signal=USR1@55").stdout.strip()
    workers = until(lambda: found if len(found := run.read("status")["workers"]) == 2 else None)
    assert {worker["job"] for worker in workers} == {f"slurm {job}_1", f"slurm {job}_2"}
    assert {worker["node"] for worker in workers} <= {"n1", "n2"}
    ended = run.all_jobs_end(job)
    assert set(ended.values()) == {"COMPLETED"}, (ended, run.log(job))
    rows = run.check_exact(4)
    log = run.log(job)
    assert "asked to leave (SIGUSR1)" in log
    assert "DUE TO JOB REQUEUE" in log
    assert "DUE TO TIME LIMIT" not in log
    assert max(row["attempts"] for row in rows) > 1, "a trial went on in another job"
    assert log.count("goes on after epoch") >= sum(row["attempts"] - 1 for row in rows) - 1


def test_preemption_a_kill_and_a_cancelled_job(study: Callable[[int, float], Study]) -> None:
    run = study(6, 12)
    slurm = run.slurm
    job = run.launch("--workers", 4, "--time", 5).stdout.strip()
    until(lambda: len(run.read("status")["workers"]) == 4, timeout=60)
    slurm("scancel", f"{job}_4")
    until(lambda: run.jobs(job)[f"{job}_4"] == "CANCELLED")
    pid = until(lambda: slurm("pgrep", "-f", "^[^ ]*python[^ ]* -m gloss_tune worker", check=False).split())[
        0
    ]
    slurm("kill", "-9", pid)
    with high_priority(slurm, 4) as other:
        until(lambda: slurm.jobs()[other] == "RUNNING", timeout=60)
    states = run.all_jobs_end(job)
    assert states.pop(f"{job}_4") == "CANCELLED", "it stays cancelled"
    assert set(states.values()) == {"COMPLETED"}
    run.check_exact(6)
    assert slurm("scontrol", "show", "job", job).count("Restarts=1") >= 2, "preempted, and back"


def test_a_node_that_dies(study: Callable[[int, float], Study]) -> None:
    run = study(4, 12)
    job = run.launch("--workers", 4, "--time", 5).stdout.strip()
    until(lambda: len(run.read("status")["workers"]) == 4, timeout=60)
    run.slurm.kill_node("n2")
    try:
        states = run.all_jobs_end(job)
    finally:
        run.slurm.start_node("n2")
    assert set(states.values()) == {"COMPLETED"}
    run.check_exact(4)


def test_what_dry_run_prints_runs_by_hand_and_holds_no_secret(
    study: Callable[[int, float], Study], tmp_path: Path
) -> None:
    run = study(2, 1)
    options = (
        "--workers",
        2,
        "--time",
        5,
        "--memory",
        "200M",
        "--partition",
        "high",
        "--sbatch-arg=--comment=by hand",
    )
    text = run.launch(*options, "--dry-run").stdout
    assert run.slurm.jobs() == {} or not any(state == "PENDING" for state in run.slurm.jobs().values())
    password = run.url.partition("://")[2].partition("@")[0].partition(":")[2]
    assert password not in text
    (secret,) = run.artifacts.glob("launch/*/url")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    script = run.slurm.folder / "work" / "by-hand.sh"
    script.write_text(text)
    script.chmod(0o644)
    job = run.slurm("sbatch", "--parsable", script).strip()
    ended = run.all_jobs_end(job)
    assert set(ended.values()) == {"COMPLETED"}, (ended, run.log(job))
    run.check_exact(2)
    shown = run.slurm("scontrol", "show", "job", job)
    assert "Partition=high" in shown
    assert password not in shown + run.slurm("scontrol", "write", "batch_script", f"{job}_1", "-")
    # nothing is left: nothing is submitted
    again = run.launch("--workers", 2)
    assert again.stdout.strip() == ""
    assert "nothing is left to run" in again.stderr


def test_stop_cancels_what_was_submitted_for_the_study_alone(study: Callable[[int, float], Study]) -> None:
    run = study(8, 60)
    other = run.slurm("sbatch", "--parsable", "--wrap=sleep 60").strip()
    first = run.launch("--workers", 2).stdout.strip()
    second = run.launch("--workers", 6).stdout.strip()
    until(lambda: run.read("status")["workers"])
    assert run.launch("--stop").stdout.split() == [first, second]
    assert set(run.all_jobs_end(first).values()) == {"CANCELLED"}
    assert set(run.all_jobs_end(second).values()) == {"CANCELLED"}
    assert run.slurm.jobs()[other] in ("RUNNING", "PENDING")
    run.slurm("scancel", other)
    trials = until(lambda: now if not (now := run.read("status")["trials"])["running"] else None)
    assert (trials["waiting"], trials["failed"]) == (8, 0)
    assert run.launch("--stop").stdout.strip() == ""


def test_a_grace_that_slurm_does_not_give_is_warned_of(study: Callable[[int, float], Study]) -> None:
    run = study(1, 1)
    assert "KillWait of 5 s" in run.launch("--workers", 1, "--grace", 5, "--dry-run").stderr
    assert "KillWait" not in run.launch("--workers", 1, "--grace", 4, "--dry-run").stderr


def test_a_job_that_slurm_refuses_is_one_clear_error(study: Callable[[int, float], Study]) -> None:
    run = study(1, 1)
    ended = run.launch("--workers", 1, "--partition", "none-such", exit_code=1)
    assert "invalid partition" in ended.stderr.lower()
    assert "Traceback" not in ended.stderr


def test_nothing_of_the_cluster_is_left_behind() -> None:
    try:
        slurm = Slurm()
    except SlurmUnavailableError as error:
        pytest.skip(f"no Slurm: {error}")
    pid = int(slurm._holder.pid)
    slurm("sbatch", "--wrap=sleep 60")
    slurm.close()
    assert not slurm.folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    time.sleep(0.2)
