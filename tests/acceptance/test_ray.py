"""A real Ray on this host: every trial ends once, whatever becomes of workers, of Ray's processes and of its nodes."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.acceptance.cluster_study import ClusterStudy
from tests.acceptance.conftest import until
from tests.conftest import _prepare
from tests.ray_cluster import RayCluster, RayUnavailableError
from tests.servers import PostgresServer, ServerUnavailableError, postgres_binaries

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(300)]
WORKER = "^[^ ]*python[^ ]* -m gloss_tune worker"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """By its socket: the cluster has a network of its own."""
    try:
        server = PostgresServer(postgres_binaries(), socket=True)
    except ServerUnavailableError as error:
        pytest.skip(str(error))
    yield server
    server.close()


@contextmanager
def running(cpus: int, autoscaling: dict[str, Any] | None = None) -> Iterator[RayCluster]:
    try:
        cluster = RayCluster(cpus, autoscaling)
    except RayUnavailableError as error:
        pytest.skip(f"no Ray: {error}")
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A head with room for one worker, and a node with room for another."""
    with running(1) as ray:
        ray.start_node(1)
        yield ray


class Study(ClusterStudy):
    """A study whose workers Ray runs."""

    def __init__(self, ray: RayCluster, url: str, trials: int, seconds: float, lease: float) -> None:
        self.ray = ray
        super().__init__(ray, "ray", url, trials, seconds, lease)

    def workers(self, number: int) -> list[dict[str, Any]]:
        """All of them, once each runs a trial."""

        def all_run() -> list[dict[str, Any]] | None:
            found = [worker for worker in self.read("status")["workers"] if worker["trial"] is not None]
            return found if len(found) == number else None

        return until(all_run, timeout=90, pause=0.3)

    def job_ends(self, job: str, seconds: float = 150) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            shown = self.ray.jobs()[job]
            return shown if shown["status"] not in ("PENDING", "RUNNING") else None

        return until(ended, timeout=seconds, pause=0.5)

    def log(self, job: str) -> str:
        return self.ray("ray", "job", "logs", job)


@pytest.fixture
def study(cluster: RayCluster, server: PostgresServer) -> Iterator[Callable[..., Study]]:
    with database(server) as url:
        yield lambda trials, seconds, lease=4: Study(cluster, url, trials, seconds, lease)


@contextmanager
def database(server: PostgresServer) -> Iterator[str]:
    with server.database() as url:
        _prepare(url)
        yield server.socket_url(url.rpartition("/")[2])


def test_a_kill_of_a_worker_and_one_of_rays_process(study: Callable[..., Study]) -> None:
    run = study(8, 8)
    ray = run.ray
    job = run.launch("--workers", 2).stdout.strip()
    workers = run.workers(2)
    assert {worker["job"] for worker in workers} == {f"ray {job}"}
    assert len({worker["node"] for worker in workers}) == 2
    assert all(len(worker["node"]) == 56 for worker in workers)
    # by their numbers here: a worker on the other node knows itself by another one
    ray("kill", "-9", ray.pids(WORKER)[0])
    run.workers(2)
    # Ray's own process, in the middle of a trial: the kernel tells the worker, which hands its trial back
    ray("kill", "-9", ray("ps", "-o", "ppid=", "-p", ray.pids(WORKER)[0]).strip())
    ended = run.job_ends(job)
    log = run.log(job)
    assert ended["status"] == "SUCCEEDED", log
    run.check_exact(8)
    assert "was killed by signal 9; it is started again" in log
    assert "was lost with its node or Ray's process; it is started again" in log
    assert "SIGTERM" in log
    assert not ray.pids(WORKER)


def test_a_raylet_that_is_killed(study: Callable[..., Study]) -> None:
    run = study(4, 8)
    ray = run.ray
    job = run.launch("--workers", 2).stdout.strip()
    run.workers(2)
    ray("kill", "-9", ray.raylet)
    until(lambda: "ended with exit code 143; it is started again" in run.log(job), timeout=60, pause=0.5)
    ray.kill_node()
    ray.start_node(1)
    ended = run.job_ends(job)
    assert ended["status"] == "SUCCEEDED", run.log(job)
    run.check_exact(4)


def test_a_node_that_is_gone(study: Callable[..., Study]) -> None:
    # the lease is longer than Ray takes to start the worker again: the one that comes must wait for the trial
    run = study(4, 10, lease=45)
    ray = run.ray
    job = run.launch("--workers", 2).stdout.strip()
    run.workers(2)
    ray.kill_node()
    ray.start_node(1)
    ended = run.job_ends(job)
    log = run.log(job)
    assert ended["status"] == "SUCCEEDED", log
    run.check_exact(4)
    assert "was lost with its node or Ray's process; it is started again" in log


def test_a_stopped_job_hands_its_trials_back_and_another_goes_on(study: Callable[..., Study]) -> None:
    run = study(4, 15)
    ray = run.ray
    job = run.launch("--workers", 2).stdout.strip()
    run.workers(2)
    ray("ray", "job", "stop", job)
    assert run.job_ends(job, 30)["status"] == "STOPPED"
    trials = run.read("status")["trials"]
    assert (trials["running"], trials["waiting"]) == (0, 4), "at once, not when leases end"
    assert not ray.pids(WORKER)
    # --stop: all jobs of this study, one that has no room yet too
    others = sorted(run.launch("--workers", 2).stdout.strip() for _ in range(2))
    run.workers(2)
    assert run.launch("--stop").stdout.split() == others
    assert {run.job_ends(other, 30)["status"] for other in others} == {"STOPPED"}
    assert run.read("status")["trials"]["waiting"] == 4
    assert run.launch("--stop").stdout.strip() == ""
    last = run.launch("--workers", 2).stdout.strip()
    assert run.job_ends(last)["status"] == "SUCCEEDED"
    rows = run.check_exact(4)
    assert max(row["attempts"] for row in rows) >= 3


def test_what_dry_run_prints_runs_by_hand_and_holds_no_secret(study: Callable[..., Study]) -> None:
    run = study(2, 1)
    ray = run.ray
    before = ray.jobs().keys()
    text = run.launch("--workers", 2, "--memory", "200M", "--dry-run").stdout
    assert ray.jobs().keys() == before
    password = run.url.partition("://")[2].partition("@")[0].partition(":")[2]
    assert password not in text
    (secret,) = run.artifacts.glob("launch/*/url")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    (ray.folder / "work" / "by-hand.sh").write_text(text)
    ray("bash", "by-hand.sh")
    (job,) = ray.jobs().keys() - before
    held: set[str] = set()

    def ended() -> bool:
        for process in psutil.process_iter():
            if process.pid != os.getpid():
                held.update(_told_to(process))
        return ray.jobs()[job]["status"] not in ("PENDING", "RUNNING")

    until(ended, timeout=90, pause=0.2)
    assert ray.jobs()[job]["status"] == "SUCCEEDED", run.log(job)
    run.check_exact(2)
    assert any("gloss_tune worker" in text for text in held), "the workers were seen"
    assert not [text for text in held if password in text and str(ray.folder) in text]
    assert password not in json.dumps(ray.jobs()) + run.log(job)
    # nothing is left: nothing is submitted
    again = run.launch("--workers", 2)
    assert again.stdout.strip() == ""
    assert "nothing is left to run" in again.stderr


def _told_to(process: psutil.Process) -> Iterator[str]:
    try:
        command = " ".join(process.cmdline())
        if "ray" in command or "gloss_tune" in command:
            yield command
            yield "\n".join(f"{name}={value}" for name, value in process.environ().items())
    except psutil.Error:
        return


def test_what_every_worker_would_meet_ends_the_job_with_its_code(study: Callable[..., Study]) -> None:
    run = study(2, 1)
    text = run.launch("--workers", 2, "--dry-run").stdout
    wrong = text.replace("--leave-when-empty", "--leave-when-empty --track nonsense")
    before = run.ray.jobs().keys()
    run.ray("bash", "-c", wrong)
    (job,) = run.ray.jobs().keys() - before
    ended = run.job_ends(job, 60)
    assert (ended["status"], ended["driver_exit_code"]) == ("FAILED", 2)
    assert "so would the others, and all end" in run.log(job)


def test_a_ray_that_does_not_answer_is_one_clear_error(study: Callable[..., Study]) -> None:
    run = study(1, 1)
    for options in (("--workers", 1), ("--stop",)):
        ended = run.launch(*options, "--address", "http://127.0.0.1:9", exit_code=1)
        assert "Failed to connect to Ray at address: http://127.0.0.1:9" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_an_autoscaler_brings_nodes_for_workers_and_takes_them_away(server: PostgresServer) -> None:
    unused = ["initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
              "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files"]  # fmt: skip
    autoscaling = {
        **{name: [] for name in unused}, "file_mounts": {}, "file_mounts_sync_continuously": False, "docker": {},
        "cluster_name": "fake", "max_workers": 2, "idle_timeout_minutes": 0.1, "upscaling_speed": 10,
        "provider": {"type": "fake_multinode", "use_node_id_as_ip": True, "disable_node_updaters": True,
                     "disable_launch_config_check": True}, "auth": {}, "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "small": {"resources": {"CPU": 1, "object_store_memory": 80000000}, "node_config": {}, "min_workers": 0,
                      "max_workers": 2},
        },
    }  # fmt: skip
    with running(0, autoscaling) as ray, database(server) as url:
        assert ray.nodes() == 1
        run = Study(ray, url, 4, 15, 4)
        job = run.launch("--workers", 2).stdout.strip()
        workers = run.workers(2)
        assert len({worker["node"] for worker in workers}) == 2
        until(lambda: ray.nodes() == 3, timeout=30, pause=1)  # the API tells a little late
        assert run.job_ends(job)["status"] == "SUCCEEDED", run.log(job)
        run.check_exact(4)
        until(lambda: ray.nodes() == 1, timeout=90, pause=1)


def test_nothing_of_the_cluster_is_left_behind() -> None:
    with running(1) as ray:
        holder = ray._holder.pid
        assert ray.nodes() == 1
    assert not Path(ray.folder).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(holder, signal.SIG_DFL)
