"""How many threads a worker computes with, beside its neighbours and on a busy machine."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from gloss_tune import cores
from gloss_tune.cores import CoreShare


@pytest.fixture(autouse=True)
def eight_idle_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(cores, "usable_cores", lambda: 8)
    monkeypatch.setattr(cores, "machine_cores", lambda: 8)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("workers", "threads"), [(1, 8), (2, 4), (3, 2), (8, 1), (20, 1)])
def test_workers_share_the_cores(workers: int, threads: int) -> None:
    assert CoreShare("cpu", None).share_cores(workers) == threads == torch.get_num_threads()


def test_a_number_that_was_asked_for_never_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    share = CoreShare("cpu", 3)
    monkeypatch.setattr(os, "getloadavg", lambda: (8.0, 0.0, 0.0), raising=False)
    share.check_load(1)
    assert [share.share_cores(workers) for workers in (1, 4)] == [3, 3]
    assert torch.get_num_threads() == 3


def test_busy_cores_are_left_alone_but_our_own_load_is_not_that_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    share = CoreShare("cpu", None)
    monkeypatch.setattr(os, "getloadavg", lambda: (6.0, 0.0, 0.0), raising=False)
    share.check_load(2)
    assert share.share_cores(2) == 1, "six of eight cores are others'"
    share.check_load(2)
    assert share.share_cores(2) == 2, "two of the load are our own now"
    monkeypatch.setattr(os, "getloadavg", lambda: (100.0, 0.0, 0.0), raising=False)
    share.check_load(2)
    assert share.share_cores(2) == 1


def test_only_a_change_is_told(caplog: pytest.LogCaptureFixture) -> None:
    share = CoreShare("cuda:1", None)
    with caplog.at_level(logging.INFO, "gloss_tune"):
        for workers in (8, 8, 2):
            share.share_cores(workers)
    assert caplog.messages == ["Computing on cuda:1 with 1 thread.", "Computing on cuda:1 with 4 threads."]


def test_a_container_has_its_share_however_busy_the_rest_of_the_machine_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: 4)
    monkeypatch.setattr(cores, "machine_cores", lambda: 64)
    for load, threads in ((50.0, 4), (61.0, 3), (90.0, 1)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0), raising=False)
        share = CoreShare("cpu", None)
        share.check_load(1)
        assert share.share_cores(1) == threads


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system knows no affinity")
def test_cores_that_a_process_may_not_use_do_not_count() -> None:
    source = """
import os
from gloss_tune.cores import usable_cores
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(usable_cores())
"""
    assert subprocess.check_output([sys.executable, "-c", source], text=True) == "1\n"
