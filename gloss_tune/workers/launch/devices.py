"""Which worker of a group computes on which device."""

from __future__ import annotations

import re
from collections.abc import Callable

from gloss_tune.errors import InputError

_NAME = re.compile(r"[a-z]+(:\d+)?")


def spread(device: str, workers: int | None, rehearsal: bool, count: Callable[[], int]) -> list[str]:
    """One device for each worker, in turn.

    Args:
        device: ``auto`` for all CUDA devices or else the CPU, or names such as ``cpu`` or ``cuda:0,cuda:1``.
        workers: how many; None for one on each device.
        rehearsal: whether the study trains nothing.
        count: counts the CUDA devices; called only where it matters, since that needs torch.

    Raises:
        InputError: if a name is none.
    """
    if device == "auto" and (workers == 1 or rehearsal):
        named = ["auto"]  # a single worker chooses for itself, when it has torch
    elif device == "auto":
        named = [f"cuda:{index}" for index in range(count())] or ["cpu"]
    else:
        named = [name.strip() for name in device.split(",")]
        if "auto" in named or not all(_NAME.fullmatch(name) for name in named):
            raise InputError(
                f"--device takes auto, cpu, or one or more of cuda:N with commas between; got {device!r}"
            )
    return [named[index % len(named)] for index in range(workers or len(named))]


def cuda_devices() -> int:
    """How many CUDA devices this process may use; imports torch."""
    import torch

    return torch.cuda.device_count()
