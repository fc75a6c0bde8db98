"""The process of a server: found by what it wrote into its folder, and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from gloss_tune.errors import GlossTuneError
from gloss_tune.server.folder import Folder
from gloss_tune.storage.postgres_programs import Release

_STOP_SECONDS, _AT_ONCE_SECONDS = 60.0, 30.0
_NAMES = ("postgres", "postmaster")
# those that this process started are reaped by it
_started: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Postmaster:
    """A server's process.

    Args:
        pid: its id on this machine.
    """

    pid: int

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        if self.pid in _started:
            return _started[self.pid].poll() is None
        try:
            return bool(psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def stop(self) -> None:
        """End it: connections break, nothing that was committed is lost.

        Raises:
            GlossTuneError: it does not end.
        """
        for signum, seconds in ((signal.SIGINT, _STOP_SECONDS), (signal.SIGQUIT, _AT_ONCE_SECONDS)):
            try:
                os.kill(self.pid, signum)
                self._wait(seconds)
            except (ProcessLookupError, psutil.NoSuchProcess):
                return
            except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
                continue
            return
        raise GlossTuneError(f"The server (pid {self.pid}) does not end; look at its log, and end it by hand")

    def _wait(self, seconds: float) -> None:
        if self.pid in _started:
            _started[self.pid].wait(seconds)
        else:
            psutil.Process(self.pid).wait(seconds)


def start_postmaster(folder: Folder, release: Release) -> Postmaster:
    """Start a server as a process that outlives this one."""
    folder.log.mkdir(mode=0o700, exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    with (folder.log / "start.log").open("wb") as log:
        process = subprocess.Popen(
            [release.program("postgres"), "-D", str(folder.data)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**environment, "LC_ALL": "C"},
            start_new_session=True,  # a Ctrl-C is for whoever started it, who keeps a dump first
        )
    _started[process.pid] = process
    return Postmaster(process.pid)


def find_postmaster(folder: Folder) -> Postmaster | None:
    """The server that runs on a folder, on this machine; what a crash left in its place is removed.

    Args:
        folder: locked by the caller.
    """
    place = folder.data / "postmaster.pid"
    try:
        found = Postmaster(int(place.read_text(encoding="utf-8").split("\n")[0]))
    except FileNotFoundError:
        return None
    except (ValueError, OSError):
        place.unlink(missing_ok=True)
        return None
    if found.is_running and _works_on(found.pid, folder.data):
        return found
    place.unlink(
        missing_ok=True
    )  # the id may be another process's by now, which Postgres would take for a server
    return None


def _works_on(pid: int, data: Path) -> bool:
    try:
        process = psutil.Process(pid)
        return process.name() in _NAMES and Path(process.cwd()) == data.resolve()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True  # of another user: not ours to judge
