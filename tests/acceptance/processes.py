"""Real gloss-tune processes that start in milliseconds.

A process of its own imports the command line with all that it needs, and then forks once for each command: pids,
signals, exit codes, folders, environments and outputs are those of real processes; only the imports are not
repeated. ``gloss_tune_cli`` (tests/conftest.py) starts from nothing, at one to three seconds each.

torch cannot be imported in these processes: rehearsals, readers and everything else here must do without.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


class NoTorch(MetaPathFinder):
    """Makes ``import torch`` fail."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] == "torch":
            raise ImportError("torch is not to be imported here")


class Process:
    """One command, running or ended; its outputs go to files, so that no pipe can fill up."""

    def __init__(
        self, server: ForkServer, pid: int, stdout: Path, stderr: Path, arguments: list[str]
    ) -> None:
        self.pid = pid
        self.arguments = arguments
        self._server = server
        self._stdout = stdout
        self._stderr = stderr
        self.returncode: int | None = None

    @property
    def stdout(self) -> str:
        return self._stdout.read_text()

    @property
    def stderr(self) -> str:
        return self._stderr.read_text()

    def poll(self) -> int | None:
        """The exit code, negative for a signal that killed it; None while it runs."""
        if self.returncode is None:
            self.returncode = self._server.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float = 60) -> int:
        """The exit code. A process that runs longer fails the test, with what it wrote."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(
                    f"{self.arguments} ran longer than {timeout:g} s\n{self.stdout}\n{self.stderr}"
                )
            time.sleep(0.01)
        return code

    def ended(self, code: int = 0, timeout: float = 60) -> Process:
        """Wait, and require an exit code and no traceback."""
        got = self.wait(timeout)
        assert got == code, f"{self.arguments} ended with {got}, not {code}\n{self.stdout}\n{self.stderr}"
        assert "Traceback" not in self.stderr, self.stderr
        return self

    def send(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


class ForkServer:
    """Starts and reaps the processes of one test session."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self._server = subprocess.Popen(
            [sys.executable, "-c", "from tests.acceptance.processes import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={"PYTHONPATH": str(REPOSITORY), **environment},
            start_new_session=True,
        )
        self.ask({"poll": 0})

    def ask(self, request: dict[str, Any]) -> Any:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def start(self, arguments: list[str], folder: Path, environment: dict[str, str], output: Path) -> Process:
        stdout, stderr = output.with_suffix(".out"), output.with_suffix(".err")
        stdout.touch()
        stderr.touch()
        request = {
            "start": arguments,
            "folder": str(folder),
            "environment": environment,
            "outputs": [str(stdout), str(stderr)],
        }
        return Process(self, self.ask(request), stdout, stderr, arguments)

    def close(self) -> None:
        self._server.communicate()


def serve() -> None:
    """Answer requests, one line of JSON each, until stdin closes; then end what is still running."""
    import psycopg  # noqa: F401
    import sqlalchemy.dialects.postgresql
    import sqlalchemy.dialects.sqlite  # noqa: F401

    import gloss_tune.cli
    import gloss_tune.spec.shipped
    import gloss_tune.study.create
    import gloss_tune.study.first_trials
    import gloss_tune.study.status
    import gloss_tune.workers.worker  # noqa: F401

    assert not {"torch", "transformers"} & sys.modules.keys(), "what a rehearsal imports must not load torch"
    ended: dict[int, int] = {0: 0}
    running: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            pid = _fork(request)
            running.add(pid)
            answer: int | None = pid
        else:
            pid = request["poll"]
            if pid in running:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    running.discard(pid)
                    ended[pid] = os.waitstatus_to_exitcode(status)
            answer = ended.get(pid)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def _fork(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        for number, path in enumerate([os.devnull, *request["outputs"]]):
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            descriptor = os.open(path, flags, 0o644)
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.argv = ["gloss-tune", *request["start"]]
        sys.meta_path.insert(0, NoTorch())
        code = _main()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _main() -> int:
    from gloss_tune.cli import main

    try:
        main()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0
