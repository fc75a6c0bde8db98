"""A time of day that can be set while processes run, by libfaketime."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.processes import ForkServer
from tests.conftest import REPOSITORY

# Python sleeps by clock_nanosleep with an absolute time of the monotonic clock, which libfaketime refuses
SLEEP = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], max(0.0, seconds)) and None\n"


class Clock:
    """What processes started with ``environment`` take for the time of day; their monotonic clock is the machine's."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._file = folder / "clock"
        self.set("+0")
        (folder / "sitecustomize.py").write_text(SLEEP)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # its name in older releases
            "PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}",
        }

    def set(self, ahead: str) -> None:
        """By how much it is wrong from now on, such as ``-1h``."""
        part = self._file.with_suffix(".part")
        part.write_text(ahead)
        part.replace(self._file)


@pytest.fixture
def clocked_server(clock: Clock, fork_server: ForkServer) -> Iterator[ForkServer]:
    """Starts commands under that clock."""
    server = ForkServer({**fork_server.environment, **clock.environment})
    yield server
    server.close()


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """Skips the test where there is no libfaketime."""
    folders = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/lib")
    found = [path for folder in folders for path in Path(folder).glob("**/faketime/libfaketimeMT.so.1")]
    if not found:
        pytest.skip("libfaketime is not installed (Debian: apt-get install faketime)")
    folder = tmp_path / "faked"
    folder.mkdir()
    return Clock(folder, found[0])
