"""A real Slurm for the tests: two nodes on this host, as an ordinary user, started and removed like Postgres.

Everything runs in a process namespace of its own, whose first process reads a pipe from the test process: however that
ends, the kernel then ends all daemons and jobs. Started by root, the daemons and jobs run as ``nobody`` (auth/none must
never run as root), in a mount namespace where closed folders that hold the interpreter or this repository are open.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.conftest import QUIET_ENVIRONMENT, REPOSITORY
from tests.namespaces import (
    ClusterCommands,
    NamespacesRefusedError,
    first_process,
    hold_namespaces,
    openings,
)

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


class Slurm(ClusterCommands):
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
        try:
            self._holder = hold_namespaces(*space, setup=openings() if root else "")
        except NamespacesRefusedError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise SlurmUnavailableError(f"no namespaces may be made here: {error}") from None
        enter = ["nsenter", f"--target={first_process(self._holder)}", "--mount", "--pid"]
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
