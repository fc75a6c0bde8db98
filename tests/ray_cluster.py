"""A real Ray for the tests: a head and further nodes on this host, started and removed like Postgres.

Everything runs in namespaces of its own for processes and the network (``ray stop`` stops every Ray that it can see),
whose first process reads a pipe from the test process: however that ends, the kernel then ends all of it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.conftest import QUIET_ENVIRONMENT, REPOSITORY
from tests.namespaces import ClusterCommands, NamespacesRefusedError, first_process, hold_namespaces

ADDRESS = "http://127.0.0.1:8265"
_GCS = "127.0.0.1:6379"
_UP = """
import fcntl, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
    fcntl.ioctl(asked, 0x8914, struct.pack("16sH", b"lo", 0x49))  # SIOCSIFFLAGS: up, loopback, running
"""
_NODE = 86399  # seconds that a node's first process sleeps, by which it is found


class RayUnavailableError(Exception):
    """No Ray can be had on this machine."""


class RayCluster(ClusterCommands):
    """One cluster, from its head's start to the removal of its folder.

    Args:
        cpus: of the head.
        autoscaling: the autoscaler's configuration, for Ray's fake provider of nodes; None for none.

    Raises:
        RayUnavailableError: it cannot be started; the message says why.
    """

    def __init__(self, cpus: int, autoscaling: dict[str, Any] | None = None) -> None:
        if importlib.util.find_spec("ray") is None:
            raise RayUnavailableError("not installed: pip install 'gloss-tune[ray]'")
        missing = [name for name in ("unshare", "nsenter") if shutil.which(name) is None]
        if missing:
            raise RayUnavailableError(f"not installed: {', '.join(missing)}")
        self.raylet = 0  # process id of its second node's, where it has one
        self._node: subprocess.Popen[str] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="gt-ray-", dir="/tmp"))  # sockets have short names
        for name in ("home", "work", "ray"):
            (self.folder / name).mkdir()
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.folder / "home"),
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONDONTWRITEBYTECODE": "1",
            "RAY_ADDRESS": ADDRESS,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DISABLE_IMPORT_WARNING": "1",
            **QUIET_ENVIRONMENT,
        }
        del self.environment["OMP_NUM_THREADS"]  # Ray sets its own, where there is none
        root = os.geteuid() == 0
        space = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        space = space if root else ["--user", "--map-root-user", *space]
        try:
            self._holder = hold_namespaces(*space, setup=f"'{sys.executable}' -c '{_UP}'; ")
        except NamespacesRefusedError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise RayUnavailableError(f"no namespaces may be made here: {error}") from None
        enter = ["nsenter", f"--target={first_process(self._holder)}", "--net", "--mount", "--pid"]
        self._prefix = enter if root else [*enter, "--user", "--preserve-credentials"]
        try:
            self._start_head(cpus, autoscaling)
        except BaseException:
            self.close()
            raise

    def _start_head(self, cpus: int, autoscaling: dict[str, Any] | None) -> None:
        options = ["--head", "--port=6379", "--dashboard-host=127.0.0.1", f"--temp-dir={self.folder / 'ray'}"]
        environment = {}
        if autoscaling is not None:
            file = self.folder / "autoscaling.json"
            file.write_text(json.dumps(autoscaling))
            options += [f"--autoscaling-config={file}"]
            environment = {"RAY_FAKE_CLUSTER": "1"}
        self("ray", "start", *self._common(cpus), *options, env=environment)

    def start_node(self, cpus: int) -> None:
        """One more node, whose processes have a namespace of their own, as those of another machine."""
        before = self.pids("raylet/raylet ")
        start = shlex.join(["ray", "start", *self._common(cpus), f"--address={_GCS}"])
        self._node = self.popen(
            "unshare",
            "--pid",
            "--fork",
            "--mount-proc",
            "/bin/sh",
            "-ec",
            f"{start} >&2; echo up; exec sleep {_NODE}",
        )
        assert self._node.stdout is not None
        if self._node.stdout.readline() != "up\n":
            raise AssertionError(self._node.communicate())
        (self.raylet,) = set(self.pids("raylet/raylet ")) - set(before)

    def kill_node(self) -> None:
        """All its processes at once."""
        (first,) = self.pids(f"^sleep {_NODE}")
        self("kill", "-9", first)
        assert self._node is not None
        self._node.communicate()

    @staticmethod
    def _common(cpus: int) -> list[str]:
        memory = "--object-store-memory=80000000"
        return [
            f"--num-cpus={cpus}",
            "--num-gpus=0",
            memory,
            "--node-ip-address=127.0.0.1",
            "--disable-usage-stats",
        ]

    def pids(self, pattern: str) -> list[int]:
        """Process ids, as the cluster sees them, of command lines that hold a pattern."""
        return [int(pid) for pid in self("pgrep", "-f", pattern, check=False).split()]

    def jobs(self) -> dict[str, dict[str, Any]]:
        """What the Jobs API shows of all jobs, by submission id."""
        shown = json.loads(self("curl", "-s", "-m", "20", f"{ADDRESS}/api/jobs/"))
        return {job["submission_id"]: job for job in shown}

    def nodes(self) -> int:
        """How many nodes live."""
        shown = json.loads(self("curl", "-s", "-m", "20", f"{ADDRESS}/nodes?view=summary"))
        return sum(node["raylet"].get("state") == "ALIVE" for node in shown["data"]["summary"])

    def close(self) -> None:
        """End everything and remove the folder."""
        super().close()
        if self._node is not None:
            self._node.communicate()
