"""Which worker of a group computes on which device."""

from __future__ import annotations

from collections.abc import Callable

from gloss_tune.errors import DeviceSilentError, GlossTuneError, InputError
from gloss_tune.finetune.cards import ask_torch, is_device_name
from gloss_tune.logging import logger


def spread(
    device: str,
    workers: int | None,
    rehearsal: bool,
    count: Callable[[], int] | None = None,
    per_device: int = 1,
) -> list[str]:
    """One device for each worker, in turn.

    Args:
        device: ``auto`` for all CUDA devices or else the CPU, or names such as ``cpu``, ``cuda:0,cuda:1`` or a card's
            UUID.
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
        if "auto" in named or not all(map(is_device_name, named)):
            raise InputError(
                "--device takes auto, cpu, or one or more of cuda:N, GPU-… and MIG-… with commas between; "
                f"got {device!r}"
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
