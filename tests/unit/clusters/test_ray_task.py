"""One worker as a process of its own: bound to the life of the process that started it, and told to stop with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gloss_tune.clusters import bound
from gloss_tune.clusters.ray_task import DYING_SECONDS, run_worker, worker_environment
from tests.acceptance.conftest import until

GRACE = 0.5
AWAY = "postgresql+psycopg://u:p@127.0.0.1:9/d"  # a worker waits for it for a quarter of an hour

# whatever this process ignores, as under nohup, Ray's listens to SIGINT
CALL = f"""import signal
from gloss_tune.clusters.ray_task import run_worker
signal.signal(signal.SIGINT, signal.default_int_handler)
code = run_worker(["worker", "--storage", "{AWAY}"], {GRACE}, "job", "node")"""


def test_a_workers_environment_names_its_job_and_leaves_threads_to_it() -> None:
    given = {
        "OMP_NUM_THREADS": "1",
        "GLOSS_TUNE_STORAGE": "secret",
        "CUDA_VISIBLE_DEVICES": "3",
        "HOME": "/h",
    }
    assert worker_environment(given, "raysubmit_1", "abc") == {
        "CUDA_VISIBLE_DEVICES": "3",
        "HOME": "/h",
        "GLOSS_TUNE_JOB": "ray raysubmit_1",
        "GLOSS_TUNE_NODE": "abc",
    }


@pytest.mark.parametrize(("command", "code"), [(["--version"], 0), (["worker", "--storage", "nonsense"], 2)])
def test_the_exit_code_is_the_workers(command: list[str], code: int) -> None:
    assert run_worker(command, 1.0, "job", "node") == code


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs a worker which waits."""
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen([sys.executable, "-c", CALL], stderr=said)
    yield process
    process.kill()
    process.wait()


def the_waiting_worker(parent: subprocess.Popen[bytes], said: Path) -> psutil.Process:
    until(lambda: "Waiting for it" in said.read_text(), timeout=60)
    (child,) = psutil.Process(parent.pid).children()
    assert os.getsid(child.pid) == child.pid != os.getsid(parent.pid)
    return child


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a parent's end")
def test_a_worker_ends_when_its_parent_is_killed(parent: subprocess.Popen[bytes], tmp_path: Path) -> None:
    child = the_waiting_worker(parent, tmp_path / "said")
    parent.kill()
    parent.wait()
    child.wait(10)
    assert "it was told to" in (tmp_path / "said").read_text()


def test_a_worker_ends_with_a_call_that_is_broken_off(
    parent: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    child = the_waiting_worker(parent, tmp_path / "said")
    parent.send_signal(signal.SIGINT)  # how Ray cancels: KeyboardInterrupt inside the call
    parent.wait(10)
    assert not psutil.pid_exists(child.pid), "the call waits for it"
    assert "it was told to" in (tmp_path / "said").read_text()


def test_a_worker_ends_when_the_parent_of_its_parent_is_killed(tmp_path: Path) -> None:
    """That is the raylet, without which Ray's own process goes on."""
    code = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {CALL!r} + "; open({str(tmp_path / "code")!r}, 'w').write(str(code))"])
"""
    with (tmp_path / "said").open("wb") as said:
        raylet = subprocess.Popen([sys.executable, "-c", code], stderr=said)
    try:
        until(lambda: "Waiting for it" in (tmp_path / "said").read_text(), timeout=60)
    finally:
        raylet.kill()
        raylet.wait()
    assert until(lambda: (tmp_path / "code").exists() and (tmp_path / "code").read_text()) == "143"


def test_a_worker_that_does_not_stop_is_ended_by_force(
    parent: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    child = the_waiting_worker(parent, tmp_path / "said")
    child.suspend()
    parent.send_signal(signal.SIGINT)
    parent.wait(GRACE + DYING_SECONDS + 5)
    assert not psutil.pid_exists(child.pid)


def test_one_whose_parent_has_ended_meanwhile_does_not_begin() -> None:
    begun = subprocess.run(
        [sys.executable, "-m", bound.__name__, "1", "--version"], capture_output=True, text=True, check=False
    )
    assert (begun.returncode, begun.stdout) == (143, "")
