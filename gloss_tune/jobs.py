"""Which job of an engine (Slurm, Ray, Kubernetes) this process is part of, for people who look at a study."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """What an engine calls the work that this process is part of.

    Args:
        name: the engine's and the job's, as in ``slurm 17_3``; empty outside of engines.
        node: what the engine calls the machine; empty outside of engines.
        again: whether the engine has started it again, in the place of a process that ended before its work did.
    """

    name: str = ""
    node: str = ""
    again: bool = False


# How often the engine has done so: Slurm's own, and what the manifest for Kubernetes takes from a pod's annotations
_RESTARTS = ("SLURM_RESTART_COUNT", "GLOSS_TUNE_FAILURES", "GLOSS_TUNE_IGNORED_FAILURES")


def this_job(environment: Mapping[str, str] = os.environ) -> Job:
    """The job that started this process; ``launch --on`` names that of engines which tell no process themselves."""
    if array := environment.get("SLURM_ARRAY_JOB_ID"):
        name = f"slurm {array}_{environment.get('SLURM_ARRAY_TASK_ID', '')}"
    elif single := environment.get("SLURM_JOB_ID"):
        name = f"slurm {single}"
    else:
        name = environment.get("GLOSS_TUNE_JOB", "")
    if not name:
        return Job()
    again = any(environment.get(count, "") not in ("", "0") for count in _RESTARTS)
    return Job(name, environment.get("SLURMD_NODENAME") or environment.get("GLOSS_TUNE_NODE", ""), again)
