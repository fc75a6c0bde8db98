"""Which device a name means on this machine."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

from gloss_tune.errors import InputError


def pick_device(device: str) -> str:
    """The device meant by a name: ``auto``, ``cpu``, ``cuda:0`` ….

    Raises:
        InputError: if there is no such device.
    """
    import torch

    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"Device {device!r} cannot be used ({reason}); choose auto, cpu or cuda:N") from None
    return str(chosen)


def hardware(device: str) -> str:
    """What a device is, by its maker's name."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return processor_name()


@cache
def processor_name() -> str:
    """What this machine's processor is called; empty where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())
