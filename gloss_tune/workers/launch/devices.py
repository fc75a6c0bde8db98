"""Which worker of a group computes on which device."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

from gloss_tune.errors import GlossTuneError, InputError
from gloss_tune.logging import logger

_NAME = re.compile(r"[a-z]+(:\d+)?")


def spread(
    device: str, workers: int | None, rehearsal: bool, count: Callable[[], int] | None = None
) -> list[str]:
    """One device for each worker, in turn.

    Args:
        device: ``auto`` for all CUDA devices or else the CPU, or names such as ``cpu`` or ``cuda:0,cuda:1``.
        workers: how many; None for one on each device.
        rehearsal: whether the study trains nothing.
        count: counts the CUDA devices, by default with torch; called only where it matters.

    Raises:
        InputError: if a name is none.
    """
    if device == "auto" and (workers == 1 or rehearsal):
        named = ["auto"]  # a single worker chooses for itself, when it has torch
    elif device == "auto":
        named = [f"cuda:{index}" for index in range((count or cuda_devices)())] or ["cpu"]
    else:
        named = [name.strip() for name in device.split(",")]
        if "auto" in named or not all(_NAME.fullmatch(name) for name in named):
            raise InputError(
                f"--device takes auto, cpu, or one or more of cuda:N with commas between; got {device!r}"
            )
    return [named[index % len(named)] for index in range(workers or len(named))]


def cuda_devices() -> int:
    """How many CUDA devices this machine offers, asked in a process of its own: torch takes long to load and stays.

    Raises:
        GlossTuneError: if that process fails.
    """
    logger.info("Looking for CUDA devices.")
    asked = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"],
        capture_output=True,
        text=True,
        start_new_session=True,  # Ctrl-C in a terminal is for us
    )
    if asked.returncode:
        reason = asked.stderr.strip().splitlines()[-1:] or [f"exit code {asked.returncode}"]
        raise GlossTuneError(f"torch cannot count CUDA devices ({reason[0]}); name the devices by --device")
    return int(asked.stdout.split()[-1])
