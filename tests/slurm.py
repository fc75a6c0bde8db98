"""A real Slurm for the tests: two nodes on this host, as an ordinary user, started and removed like Postgres.

Everything runs in a process namespace of its own, whose first process reads a pipe from the test process: however that
ends, the kernel then ends all daemons and jobs. Started by root, the daemons and jobs run as ``nobody`` (auth/none must
never run as root), in a mount namespace where closed folders that hold the interpreter or this repository are open.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.conftest import QUIET_ENVIRONMENT, REPOSITORY

PROGRAMS = (
    "slurmctld",
    "slurmd",
    "sbatch",
    "squeue",
    "scontrol",
    "scancel",
    "sinfo",
    "unshare",
    "nsenter",
    "setpriv",
)
CONFIGURATION = """
ClusterName=gloss
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=100000
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=10
KillWait=5
MinJobAge=3600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2 RealMemory=4000
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""
KILL_NODE = """
import psutil, sys
node, daemon = sys.argv[1], psutil.Process(int(sys.argv[2]))
doomed = {daemon}
for process in psutil.process_iter():
    try:
        if process.environ().get("SLURMD_NODENAME") == node:
            doomed |= {process, *(parent for parent in process.parents() if parent.pid != 1)}
    except psutil.Error:
        pass
doomed -= {psutil.Process()}
for process in doomed:
    process.suspend()  # so that none tells Slurm of another's end
for process in doomed:
    process.kill()
"""
START_SECONDS = 30
REQUEUE_SECONDS = 3


class SlurmUnavailableError(Exception):
    """No Slurm can be had on this machine."""


class Slurm:
    """One cluster, from its configuration to the removal of its folder.

    Raises:
        SlurmUnavailableError: it cannot be started; the message says why.
    """

    def __init__(self) -> None:
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
        if missing:
            raise SlurmUnavailableError(f"not installed: {', '.join(missing)} (Debian's package slurm-wlm)")
        self._waiting_since: dict[str, float] = {}
        root = os.geteuid() == 0
        self.user = "nobody" if root else pwd.getpwuid(os.getuid()).pw_name
        self.folder = Path(tempfile.mkdtemp(prefix="gloss-tune-slurm-", dir="/tmp"))
        account = pwd.getpwnam(self.user)
        for name in ("state", "spool/n1", "spool/n2", "home", "work"):
            (self.folder / name).mkdir(parents=True)
        controller, first, second = _free_ports(3)
        text = CONFIGURATION.format(
            host=socket.gethostname(), controller=controller, first=first, second=second,
            user=self.user, folder=self.folder,
        )  # fmt: skip
        (self.folder / "slurm.conf").write_text(text)
        if root:
            for found in (self.folder, *self.folder.rglob("*")):
                os.chown(found, account.pw_uid, account.pw_gid)
        self.folder.chmod(0o755)
        self.environment = {
            "PATH": path,
            "HOME": str(self.folder / "home"),
            "USER": self.user,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONDONTWRITEBYTECODE": "1",
            **QUIET_ENVIRONMENT,
        }
        space = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        space = space if root else ["--user", "--map-current-user", *space]
        self._holder = subprocess.Popen(
            ["unshare", *space, "/bin/sh", "-ec", f"{openings() if root else ''}echo ready; read _ || true"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            _, why = self._holder.communicate()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise SlurmUnavailableError(f"no namespaces may be made here: {why.strip()}")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        (pid,) = children.read_text().split()
        enter = ["nsenter", f"--target={pid}", "--mount", "--pid"]
        become = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        self._prefix = [*enter, *become] if root else [*enter, "--user", "--preserve-credentials"]
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self.start_controller()
        for node in ("n1", "n2"):
            self.start_node(node)
        end = time.monotonic() + START_SECONDS
        while (
            self("sinfo", "--noheader", "--Node", "--partition=low", "--format=%t", check=False).split()
            != ["idle"] * 2
        ):
            if time.monotonic() > end:
                log = (self.folder / "slurmctld.log").read_text()[-2000:]
                raise SlurmUnavailableError(f"Slurm does not start:\n{log}")
            time.sleep(0.1)

    def start_controller(self) -> None:
        self("slurmctld", "-i", "-f", self.folder / "slurm.conf")

    def start_node(self, name: str) -> None:
        self("slurmd", "-N", name, "-f", self.folder / "slurm.conf")

    def kill_node(self, name: str) -> None:
        """What a node's end takes with it: its daemon, its steps and all their processes."""
        self(sys.executable, "-c", KILL_NODE, name, (self.folder / f"slurmd-{name}.pid").read_text().strip())

    def popen(self, *command: object, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command as the cluster's user, on its login node as it were."""
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
        """A command of gloss-tune as the cluster's user."""
        process = self.popen(sys.executable, "-m", "gloss_tune", *arguments, env=env)
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == exit_code, (arguments, process.returncode, stdout, stderr)
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    def jobs(self) -> dict[str, str]:
        """States of all jobs, ended ones too, by their ids (``17_3``)."""
        listed = self("squeue", "--noheader", "--array", "--states=all", "--format=%i %T")
        return dict(line.split() for line in listed.splitlines())

    def start_requeued(self) -> None:
        """Let requeued jobs start soon: Slurm holds them for two minutes.

        Not at once: a node refuses a job that starts in the second in which the same job's requeue revoked its
        credential, and the job has failed then.
        """
        waiting = [job for job, state in self.jobs().items() if state == "PENDING"]
        self._waiting_since = {job: self._waiting_since.get(job, time.monotonic()) for job in waiting}
        for job, since in self._waiting_since.items():
            if time.monotonic() - since > REQUEUE_SECONDS:
                self("scontrol", "update", f"JobId={job}", "StartTime=now", check=False)

    def close(self) -> None:
        """End everything and remove the folder."""
        self._holder.communicate("done\n")
        for _ in range(50):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                break
            time.sleep(0.1)


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


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for taken in sockets:
            taken.bind(("127.0.0.1", 0))
        return [taken.getsockname()[1] for taken in sockets]
    finally:
        for taken in sockets:
            with suppress(OSError):
                taken.close()
