"""Processes that start at once, and studies to run them on."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.processes import ForkServer, Process
from tests.conftest import QUIET_ENVIRONMENT
from tests.integration.studies import all_connections_closed

__all__ = ["all_connections_closed"]


@pytest.fixture(scope="session")
def fork_server(home: Path) -> Iterator[ForkServer]:
    kept = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {name: value for name, value in os.environ.items() if name.startswith("PG")}
    server = ForkServer({**environment, **QUIET_ENVIRONMENT, "HOME": str(home)})
    yield server
    server.close()


class Commands:
    """``commands.start("worker", ...)`` starts a process; ``commands("status", ...)`` runs one to its end."""

    def __init__(self, server: ForkServer, folder: Path) -> None:
        self.folder = folder
        self.storage: str | None = None
        self._server = server
        self._outputs = folder.parent / f"{folder.name}-outputs"
        self._outputs.mkdir()
        self._numbers = itertools.count()
        self._started: list[Process] = []

    def start(
        self,
        *arguments: object,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        server: ForkServer | None = None,
    ) -> Process:
        server = server or self._server
        environment = {**server.environment, **(env or {})}
        if self.storage is not None:
            environment.setdefault("GLOSS_TUNE_STORAGE", self.storage)
        output = self._outputs / f"{next(self._numbers)}"
        process = server.start([str(a) for a in arguments], cwd or self.folder, environment, output)
        self._started.append(process)
        return process

    def __call__(self, *arguments: object, exit_code: int = 0, timeout: float = 60, **where: Any) -> Process:
        return self.start(*arguments, **where).ended(exit_code, timeout)

    def json(self, *arguments: object, **where: Any) -> Any:
        return json.loads(self(*arguments, "--format", "json", **where).stdout)

    def close(self) -> None:
        for process in self._started:
            process.kill()


@pytest.fixture
def commands(fork_server: ForkServer, tmp_path: Path) -> Iterator[Commands]:
    """Commands in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    started = Commands(fork_server, folder)
    yield started
    started.close()


@pytest.fixture
def on_storage(commands: Commands, storage_url: str) -> Commands:
    """Commands that find their storage in the environment; once for each kind of storage."""
    commands.storage = storage_url
    return commands


def until(condition: Callable[[], Any], timeout: float = 30, pause: float = 0.05) -> Any:
    """Wait for something to become true, and return it."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"did not happen within {timeout:g} s"
        time.sleep(pause)
    return value
