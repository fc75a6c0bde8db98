"""The process that workers are forked from: what it imports beforehand, and how it ends."""

from __future__ import annotations

import multiprocessing
import time
from importlib.util import find_spec

import pytest

from gloss_tune.launch import starter
from gloss_tune.workers.tracking import TRACKERS

PRELOADED = [
    *starter._ALWAYS,
    *starter._TRAINING,
    *(name for own in starter._DRIVERS.values() for name in own),
]


@pytest.mark.parametrize("name", PRELOADED)
def test_what_is_imported_beforehand_is_there(name: str) -> None:
    """A name that is wrong would only cost time, at each worker's start, and nobody would notice."""
    assert find_spec(name) is not None


@pytest.mark.parametrize("name", TRACKERS)
def test_every_tracker_has_its_module(name: str) -> None:
    assert find_spec(f"gloss_tune.workers.tracking.{name}_run") is not None


@pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="there is no such server"
)
def test_the_server_can_be_ended_and_its_processes_ends_are_then_known() -> None:
    process = multiprocessing.get_context("forkserver").Process(target=time.sleep, args=(30,))
    process.start()
    starter.end_server()
    process.join(10)
    assert process.exitcode == 255
