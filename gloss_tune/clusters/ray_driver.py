"""The job that ``launch --on ray`` submits: one task of Ray for each worker, started again where that helps.

It runs on the cluster: ``python -m gloss_tune.clusters.ray_driver --workers 8 … -- worker --storage @FILE …``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import ray

from gloss_tune.clusters.ray_task import DYING_SECONDS, run_worker
from gloss_tune.clusters.ray_workers import look_after
from gloss_tune.errors import ExitCode
from gloss_tune.logging import configure, logger
from gloss_tune.signals import stop_on_signal

_SLOW_SECONDS = 5.0
# an end that starting again would not change: what Ray calls a task's own fault
_OWN_FAULTS = (
    ray.exceptions.RayTaskError,
    ray.exceptions.RuntimeEnvSetupError,
    ray.exceptions.TaskUnschedulableError,
)


class RayTasks:
    """Workers as tasks of Ray, each with the resources that it was promised.

    Args:
        cpus: of each worker.
        gpus: of each.
        memory: of each, in MiB; None for no promise.
        grace: seconds from a SIGTERM to a worker's end.
        job: what Ray calls this job.
    """

    def __init__(self, cpus: int, gpus: int, memory: int | None, grace: float, job: str) -> None:
        self._grace = grace
        self._job = job
        # a lost task is started again by look_after, which counts; Ray's process ends with it, and its GPU is free
        self._run: Any = ray.remote(
            num_cpus=cpus,
            num_gpus=gpus,
            memory=None if memory is None else memory * 1024**2,
            max_calls=1,
            max_retries=0,
        )(run_worker)
        self._tasks: dict[Any, int] = {}

    def start(self, worker: int, command: Sequence[str]) -> None:
        """Have a worker started wherever there is room for it."""
        task = self._run.options(name=f"worker {worker}").remote(list(command), self._grace, self._job)
        self._tasks[task] = worker

    def ended(self, seconds: float) -> dict[int, int | None]:
        """The exit codes of workers that have ended since; None where Ray has lost one."""
        if not self._tasks:
            time.sleep(seconds)
            return {}
        ready, _ = ray.wait(list(self._tasks), num_returns=1, timeout=seconds)
        return {self._tasks.pop(task): self._code(task) for task in ready}

    def cancel(self) -> None:
        """Tell all workers to stop, and wait for their ends."""
        for task in self._tasks:
            ray.cancel(task)
        if self._tasks:
            tasks = list(self._tasks)
            ray.wait(tasks, num_returns=len(tasks), timeout=self._grace + DYING_SECONDS + _SLOW_SECONDS)

    def _code(self, task: Any) -> int | None:
        try:
            return int(ray.get(task))
        except _OWN_FAULTS as error:
            logger.error("%s", error)
            return ExitCode.FAILED
        except ray.exceptions.RayError as error:
            logger.warning("%s", str(error).partition("\n")[0])
            return None


def this_job() -> str:
    """What ``ray job stop`` calls the job that this is the driver of; without one, Ray's number for it."""
    try:
        metadata = json.loads(os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"])["metadata"]
        return str(metadata["job_submission_id"])
    except (KeyError, TypeError, ValueError):
        return str(ray.get_runtime_context().get_job_id())


def main(arguments: Sequence[str]) -> int:
    """Run the job; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m gloss_tune.clusters.ray_driver")
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--cpus", type=int, required=True)
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--memory", type=int, metavar="MIB")
    parser.add_argument("--grace", type=float, required=True)
    border = arguments.index("--")
    given, command = parser.parse_args(arguments[:border]), arguments[border + 1 :]
    configure()
    ray.init(address="auto")
    with stop_on_signal(last=True) as stop:  # after Ray has set its own handlers
        tasks = RayTasks(given.cpus, given.gpus, given.memory, given.grace, this_job())
        return look_after(tasks, command, given.workers, stop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
