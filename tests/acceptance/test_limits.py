"""Few open files: said in one sentence, by whoever meets it first, and no storage is blamed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gloss_tune.study.status import trials as read_trials
from gloss_tune.study.study import OpenStudy, open_study
from tests.conftest import QUIET_ENVIRONMENT, REPOSITORY, CommandLine

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def opened(gloss_tune_cli: CommandLine, tmp_path: Path) -> OpenStudy:
    storage = f"sqlite:///{tmp_path}/study.db"
    gloss_tune_cli(
        "create",
        "--dataset",
        "mr",
        "--rehearse",
        "--rehearse-seconds",
        0.1,
        "--trials",
        8,
        "--storage",
        storage,
    )
    return open_study(storage, read_only=True)


def limited(ulimit: str, home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command in a shell that has set a limit."""
    command = shlex.join([sys.executable, "-m", "gloss_tune", *map(str, arguments)])
    return subprocess.run(
        ["/bin/bash", "-c", f"ulimit {ulimit}; exec {command}"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=home,
        env={
            **QUIET_ENVIRONMENT,
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(REPOSITORY),
        },
    )


@pytest.mark.parametrize("files", [6, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 7, 8, 10, 12))])
def test_a_command_without_files_says_so(opened: OpenStudy, home: Path, files: int) -> None:
    url = opened.storage.redacted_url
    ended = limited(f"-n {files}", home, "status", "--storage", url)
    if ended.returncode == 0 and files > 6:
        return  # that many will do
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert f"Too many files are open at once (the limit is {files})" in ended.stderr
    assert "ulimit -n" in ended.stderr


def test_a_group_that_cannot_have_its_files_is_not_begun(opened: OpenStudy, home: Path) -> None:
    url = opened.storage.redacted_url
    ended = limited("-n 40", home, "launch", "--workers", 3, "--storage", url)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "files open at once, got a limit of 40" in ended.stderr
    assert {row["state"] for row in read_trials(opened)} == {"waiting"}


def test_a_group_raises_a_limit_that_it_may_raise(opened: OpenStudy, home: Path) -> None:
    url = opened.storage.redacted_url
    ended = limited("-Sn 40", home, "launch", "--workers", 3, "--storage", url)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert {row["state"] for row in read_trials(opened)} <= {"complete", "pruned"}
