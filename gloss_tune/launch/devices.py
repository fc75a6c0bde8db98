"""Which worker of a group computes on which device."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

from gloss_tune.errors import DeviceSilentError, GlossTuneError, InputError
from gloss_tune.logging import logger

_NAME = re.compile(r"[a-z]+(:\d+)?")
# torch from a cold network disk, and a driver that wakes up
_PATIENCE_SECONDS = 180.0


def spread(
    device: str,
    workers: int | None,
    rehearsal: bool,
    count: Callable[[], int] | None = None,
    per_device: int = 1,
) -> list[str]:
    """One device for each worker, in turn.

    Args:
        device: ``auto`` for all CUDA devices or else the CPU, or names such as ``cpu`` or ``cuda:0,cuda:1``.
        workers: how many; None for ``per_device`` on each device.
        rehearsal: whether the study trains nothing.
        count: counts the CUDA devices, by default with torch; called only where it matters.
        per_device: how many on each device.

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
    return [named[index % len(named)] for index in range(workers or per_device * len(named))]


def cuda_devices() -> int:
    """How many CUDA devices this machine offers.

    Raises:
        GlossTuneError: torch does not say.
    """
    logger.info("Looking for CUDA devices.")
    try:
        return int(ask_torch("import torch; print(torch.cuda.device_count())")[-1])
    except DeviceSilentError as error:
        raise GlossTuneError(
            f"torch cannot count CUDA devices ({error}); name the devices by --device"
        ) from None


def ask_torch(program: str, *arguments: str) -> list[str]:
    """What a Python program prints, in words, run in a process of its own.

    Here torch would take long to load and stay, and a device that was touched would stay in use.

    Raises:
        DeviceSilentError: the program fails, prints nothing, or takes minutes.
    """
    try:
        asked = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            start_new_session=True,  # Ctrl-C in a terminal is for us
        )
    except subprocess.TimeoutExpired:
        raise DeviceSilentError(f"no answer within {_PATIENCE_SECONDS:g} s") from None
    words = asked.stdout.split()
    if asked.returncode or not words:
        raise DeviceSilentError((asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"])[-1])
    return words
