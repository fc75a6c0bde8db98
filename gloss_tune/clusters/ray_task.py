"""What a node of Ray does for one worker: ``gloss-tune worker`` as a process of its own, looked after until its end.

Not inside Ray's own process: a worker listens to signals, and ends its process when it must.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

#: From the end of a worker's grace to its end by force.
DYING_SECONDS = 3.0
_POLL_SECONDS = 0.2


def run_worker(command: Sequence[str], grace: float, job: str, node: str | None = None) -> int:
    """Run one worker to its end.

    Whatever ends this call early (Ray cancels by KeyboardInterrupt, and ends its processes by SystemExit) tells the
    worker to stop and waits for it. If Ray's process is killed, the kernel tells the worker. If the node's raylet ends,
    which keeps no process of Ray from going on with its task, the worker is told as well: nobody else could.

    Args:
        command: arguments of ``gloss-tune``.
        grace: seconds from a SIGTERM to the worker's end.
        job: what Ray calls the job, for those who look at the study.
        node: what Ray calls this node; None to ask it.

    Returns:
        Its exit code; negative if a signal killed it.
    """
    raylet = os.getppid()
    process = subprocess.Popen(
        [sys.executable, "-m", "gloss_tune.clusters.bound", str(os.getpid()), *command],
        env=worker_environment(os.environ, job, _this_node() if node is None else node),
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ray clears its own process groups
    )
    try:
        told = False
        while (code := process.poll()) is None:
            if not told and os.getppid() != raylet:
                process.terminate()
                told = True
            time.sleep(_POLL_SECONDS)
        return code
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(grace + DYING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def worker_environment(environment: Mapping[str, str], job: str, node: str) -> dict[str, str]:
    """Of a worker: without the number of threads that Ray guesses (--threads says it), with its job and node."""
    left_out = {"OMP_NUM_THREADS", "GLOSS_TUNE_STORAGE"}
    kept = {name: value for name, value in environment.items() if name not in left_out}
    return {**kept, "GLOSS_TUNE_JOB": f"ray {job}", "GLOSS_TUNE_NODE": node}


def _this_node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())
