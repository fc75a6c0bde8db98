"""``status --watch`` on a terminal and into a file: live until the study has finished, and it leaves when told to."""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import subprocess
import sys
import time

import pytest

from tests.acceptance.conftest import Commands, until

pty = pytest.importorskip("pty", reason="a terminal of this kind is for Unix")


@pytest.fixture
def here(commands: Commands) -> Commands:
    """A study of two simulated trials that nobody has begun."""
    commands.storage = f"sqlite:///{commands.folder}/study.db"
    commands("create", "--study", "study", "--dataset", "mr", "--rehearse", "--trials", 2, "--epochs", 2)
    return commands


def screen(descriptor: int, *wanted: str, seconds: float = 30) -> str:
    """What the terminal has received once all that is ``wanted`` is in it: a read may end amid what was written."""
    text, end = "", time.monotonic() + seconds
    while not all(one in text for one in wanted) and time.monotonic() < end:
        if select.select([descriptor], [], [], 0.2)[0]:
            try:
                text += os.read(descriptor, 65536).decode()
            except OSError:  # the other side has closed it
                break
    assert all(one in text for one in wanted), text
    return text


@pytest.mark.parametrize("stopped", [True, False])
def test_on_a_terminal_it_is_live(here: Commands, stopped: bool) -> None:
    ours, theirs = pty.openpty()
    assert here.storage is not None
    watching = subprocess.Popen(
        [sys.executable, "-m", "gloss_tune", "status", "--watch", "--storage", here.storage],
        stdout=theirs, stderr=subprocess.PIPE, env={**os.environ, "TERM": "xterm", "COLUMNS": "80"}, text=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        assert "2 waiting" in screen(ours, "no trial is complete yet", "2 waiting")
        if stopped:
            watching.send_signal(signal.SIGINT)
            assert watching.wait(20) == 130
        else:
            here("worker")
            assert "2 of 2" in screen(ours, "finished", "2 of 2")
            assert watching.wait(20) == 0
        assert watching.communicate()[1] == ""
    finally:
        if watching.poll() is None:
            watching.kill()
            watching.communicate()
        os.close(ours)


def test_into_a_file_it_tells_every_change(here: Commands) -> None:
    watching = here.start("status", "--watch", "--format", "json")
    until(lambda: '"waiting"' in watching.stdout)
    here("worker")
    watching.ended()
    parts = [
        json.loads(part if part.startswith("{") else "{" + part) for part in watching.stdout.split("\n{")
    ]
    assert (parts[0]["state"], parts[-1]["state"]) == ("waiting", "finished")
    assert all(earlier != later for earlier, later in itertools.pairwise(parts))
