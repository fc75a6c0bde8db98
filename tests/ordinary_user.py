"""The command line as an ordinary user runs it, though the tests may run as root: as ``nobody``."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import QUIET_ENVIRONMENT, REPOSITORY
from tests.namespaces import NamespacesRefusedError, hold_namespaces, openings

NAME = "nobody"


class NoOrdinaryUserError(Exception):
    """Commands cannot be run as somebody else here; the message says why."""


class OrdinaryUser:
    """Runs commands as an ordinary user, in a folder that belongs to it.

    Args:
        folder: made if it is not there; anybody may get to it.
        prefix: put before each command, such as one that enters a network namespace.

    Raises:
        NoOrdinaryUserError: that cannot be done here.
    """

    def __init__(self, folder: Path, prefix: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self._prefix = [*prefix]
        self._started: list[subprocess.Popen[str]] = []
        self._holder: subprocess.Popen[str] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            if not all(map(shutil.which, ("setpriv", "unshare", "nsenter"))):
                raise NoOrdinaryUserError("there is no setpriv, unshare or nsenter")
            account = pwd.getpwnam(NAME)
            os.chown(folder, account.pw_uid, account.pw_gid)
            become = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
            # the interpreter and the repository may lie where nobody else gets to
            try:
                self._holder = hold_namespaces("--mount", setup=openings())
            except NamespacesRefusedError as error:
                raise NoOrdinaryUserError(str(error)) from None
            enter = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "env", f"--chdir={folder}"]
            self._prefix += [*enter, *become]
        done = self.run(sys.executable, "-c", "import psycopg")
        if done.returncode:
            self.close()
            raise NoOrdinaryUserError(done.stderr.strip())

    def cli(
        self, *arguments: object, exit_code: int = 0, timeout: float = 100
    ) -> subprocess.CompletedProcess[str]:
        """Run one command of gloss-tune to its end."""
        done = self.run(sys.executable, "-m", "gloss_tune", *arguments, timeout=timeout)
        assert done.returncode == exit_code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def run(self, *command: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run any command to its end."""
        process = self.start(*command)
        stdout, stderr = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def start(self, *command: object) -> subprocess.Popen[str]:
        """Start any command; it ends with :meth:`close`."""
        process = subprocess.Popen(
            [*self._prefix, *map(str, command)],
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "PYTHONPATH": str(REPOSITORY),
                "PYTHONDONTWRITEBYTECODE": "1",
                **QUIET_ENVIRONMENT,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End what was started and still runs."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()  # closes what it wrote to, also where nobody has read it
        if self._holder is not None:
            self._holder.communicate("done\n")
