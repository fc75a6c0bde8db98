"""A worker from its first moment on: signals during its imports, as process 1 too, and a database that is away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.acceptance.conftest import Commands, until
from tests.acceptance.test_signals import create
from tests.conftest import REPOSITORY, CommandLine
from tests.servers import PostgresServer

# a process that stands where the imports of the command line begin, for as long as the test needs
HELD = """
import signal, sys, time
from importlib.abc import MetaPathFinder

class Hold(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "gloss_tune.cli":
            print("importing", flush=True)
            time.sleep(20)

for signum in (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP):  # what ran in the test's process before is inherited
    signal.signal(signum, signal.SIG_DFL)
sys.meta_path.insert(0, Hold())
sys.argv = ["gloss-tune", "worker"]
from gloss_tune.__main__ import main
main()
"""


def start_held(prefix: list[str]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", HELD],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        _, stderr = process.communicate(timeout=20)
        pytest.skip(f"no process namespace may be made here: {stderr.strip()}")
    assert line == "importing\n"
    return process


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGUSR1, 75), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_during_the_imports_is_heard(signum: int, code: int) -> None:
    process = start_held([])
    process.send_signal(signum)
    process.communicate(timeout=10)
    assert process.returncode == code


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGUSR1, 75), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_process_1_hears_signals_during_the_imports(signum: int, code: int) -> None:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare on this machine")
    process = start_held([unshare, "--user", "--map-root-user", "--pid", "--fork", "--kill-child"])
    try:
        inner = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(inner[0]), signum)
        process.communicate(timeout=10)
        assert process.returncode == code
    finally:
        process.kill()
        process.communicate()


@pytest.mark.postgres
@pytest.mark.prepared
def test_a_worker_waits_for_a_database_that_is_away(
    commands: Commands, postgres_url: str, postgres_server: PostgresServer
) -> None:
    commands.storage = postgres_url
    create(commands, trials=2, seconds=0.2)
    with postgres_server.outage():
        worker = commands.start("worker")
        until(lambda: "Waiting for it" in worker.stderr)
        assert worker.poll() is None
    worker.ended(0, timeout=40)
    assert [row["state"] for row in commands.json("trials")] == ["complete"] * 2
    assert worker.stderr.count("Waiting for it") == 1


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 75)]
)
def test_a_worker_that_waits_for_its_database_can_be_told_to_leave(
    commands: Commands, signum: int, code: int
) -> None:
    commands.storage = "postgresql://nobody@127.0.0.1:9/nothing"
    worker = commands.start("worker", "--study", "a")
    until(lambda: "Waiting for it" in worker.stderr)
    started = time.monotonic()
    worker.send(signum)
    worker.ended(code, timeout=10)
    assert time.monotonic() - started < 5


@pytest.mark.prepared
def test_status_names_job_and_node(commands: Commands) -> None:
    commands.storage = f"sqlite:///{commands.folder}/study.db"
    create(commands, trials=1, seconds=5)
    env = {"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3", "SLURMD_NODENAME": "node7"}
    worker = commands.start("worker", env=env)
    (shown,) = until(lambda: commands.json("status")["workers"])
    assert (shown["job"], shown["node"]) == ("slurm 17_3", "node7")
    table = commands("status").stdout
    assert "slurm 17_3" in table
    assert "node7" in table
    worker.send(signal.SIGTERM)
    worker.ended(143, timeout=20)


@pytest.mark.prepared
def test_a_preempted_worker_that_said_goodbye_costs_its_trial_no_attempt(commands: Commands) -> None:
    """Even where the grace was too short for an epoch, and the shutdown's thread gave the trial back."""
    commands.storage = f"sqlite:///{commands.folder}/study.db"
    commands(
        "create", "--dataset", "mr", "--rehearse", "--rehearse-seconds", 60, "--trials", 1,
        "--lease", 2, "--set", "max_attempts=1",
    )  # fmt: skip
    for _ in range(3):
        worker = commands.start("worker", "--grace", 0)
        until(lambda: commands.json("status")["trials"]["running"])
        worker.send(signal.SIGTERM)
        worker.ended(143, timeout=20)
        trials = commands.json("status")["trials"]
        assert (trials["waiting"], trials["failed"]) == (1, 0)


def test_the_command_is_the_module(gloss_tune_cli: CommandLine) -> None:
    assert gloss_tune_cli("--version").stdout.startswith("gloss-tune ")
