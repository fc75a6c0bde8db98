"""Which processes have surely ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from gloss_tune.processes import ProcessIdentity, is_gone, this_process


def test_this_process_lives() -> None:
    me = this_process()
    assert me.pid == os.getpid()
    assert me.host
    assert not is_gone(me)


@pytest.fixture
def ended() -> ProcessIdentity:
    """A child that has ended and was waited for."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return replace(this_process(), pid=child.pid)


def test_an_ended_process_is_gone(ended: ProcessIdentity) -> None:
    assert is_gone(ended)


def test_a_zombie_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    identity = replace(this_process(), pid=child.pid)
    deadline = time.monotonic() + 30
    while not is_gone(identity):  # it ends, and nobody waits for it
        assert time.monotonic() < deadline, "a zombie looks alive"
        time.sleep(0.01)
    assert child.wait() == 0


@pytest.mark.parametrize("machine", ["", "another boot:4026531836"])
def test_nothing_is_known_of_other_machines(ended: ProcessIdentity, machine: str) -> None:
    assert not is_gone(replace(ended, machine=machine))


def test_the_hosts_name_does_not_count(ended: ProcessIdentity) -> None:
    assert is_gone(replace(ended, host="renamed"))


def test_what_proc_hides_from_us_may_live(ended: ProcessIdentity, monkeypatch: pytest.MonkeyPatch) -> None:
    """With hidepid=2, /proc shows no other user's process, and the kernel says that it may not be signalled."""

    def kill(pid: int, signum: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    assert not is_gone(ended)
