"""Linux namespaces of a test's own, and a cluster's commands in them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import REPOSITORY


class NamespacesRefusedError(Exception):
    """No namespaces may be made here; the message says why."""


def hold_namespaces(*options: str, setup: str = "") -> subprocess.Popen[str]:
    """A process that keeps namespaces until this one ends, or writes to it: ``communicate("done\\n")``.

    Args:
        options: of ``unshare``.
        setup: shell lines to run in them first, each ended.

    Raises:
        NamespacesRefusedError: they may not be made, or the lines failed.
    """
    holder = subprocess.Popen(
        ["unshare", *options, "/bin/sh", "-ec", f"{setup}echo ready; read _ || true"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert holder.stdout is not None
    if holder.stdout.readline() != "ready\n":
        raise NamespacesRefusedError(holder.communicate()[1].strip())
    return holder


def first_process(holder: subprocess.Popen[str]) -> int:
    """The process that is number 1 in the process namespace that a holder keeps."""
    (pid,) = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
    return int(pid)


def openings() -> str:
    """Shell lines that, in a mount namespace, let others reach the interpreter and the repository."""
    lines = []
    for wanted in dict.fromkeys((Path(sys.base_prefix).resolve(), REPOSITORY)):
        closed = [folder for folder in reversed(wanted.parents) if not folder.stat().st_mode & 0o001]
        if closed:
            aside, folder = shlex.quote(f"/tmp/.gloss-tune-{os.getpid()}"), shlex.quote(str(closed[0]))
            place = shlex.quote(str(wanted))
            lines += [
                f"mkdir -p {aside}", f"mount --bind {place} {aside}", f"mount -t tmpfs -o mode=755 tmpfs {folder}",
                f"mkdir -p {place}", f"mount --bind {aside} {place}", f"umount {aside}", f"rmdir {aside}",
            ]  # fmt: skip
    return "; ".join([*lines, ""])


class ClusterCommands:
    """Commands beside a cluster that lives in namespaces of its own.

    Subclasses set all four.

    Args:
        folder: the cluster's; commands run in its ``work``.
        environment: of the commands.
        _prefix: what enters the namespaces.
        _holder: what keeps them.
    """

    folder: Path
    environment: dict[str, str]
    _prefix: list[str]
    _holder: subprocess.Popen[str]

    def popen(self, *command: object, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [*self._prefix, "env", f"--chdir={self.folder / 'work'}", *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment | (env or {}),
        )

    def __call__(
        self, *command: object, env: dict[str, str] | None = None, check: bool = True, timeout: float = 60
    ) -> str:
        """What a command prints to stdout."""
        process = self.popen(*command, env=env)
        stdout, stderr = process.communicate(timeout=timeout)
        assert not check or process.returncode == 0, (command, process.returncode, stdout, stderr)
        return stdout

    def gloss_tune(
        self, *arguments: object, env: dict[str, str] | None = None, exit_code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """A command of gloss-tune."""
        process = self.popen(sys.executable, "-m", "gloss_tune", *arguments, env=env)
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == exit_code, (arguments, process.returncode, stdout, stderr)
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    def close(self) -> None:
        """End everything and remove the folder."""
        self._holder.communicate("done\n")
        for _ in range(50):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                break
            time.sleep(0.1)
