"""Which device a name means on this machine."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from gloss_tune.errors import InputError
from gloss_tune.faults import is_out_of_memory, lost_device_told
from gloss_tune.finetune.cards import freest_card, is_uuid, see_only


def pick_device(device: str, busy: Callable[[], Iterable[str]] = tuple) -> str:
    """The device meant by a name: ``auto``, ``cpu``, ``cuda:0``, a card's UUID ….

    Args:
        device: the name.
        busy: asked where ``auto`` has a choice: what other workers of this machine compute on, once for each.

    Raises:
        InputError: if there is no such device.
        DeviceLostError: there is, but it does not answer.
    """
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            cards = torch.cuda.device_count()
            return "cuda:0" if cards == 1 else freest_card(cards, busy())
        return _other_accelerator() or "cpu"
    named = see_only(device) if is_uuid(device) else device
    try:
        chosen = torch.device(named)
        with lost_device_told():
            torch.ones(1, device=chosen)  # by a kernel: some builds have none for an older card
    except (RuntimeError, AssertionError) as error:
        if is_out_of_memory(error):
            return str(torch.device(named))  # it is there; who loads something will tell that it is full
        reason = str(error).splitlines()[0]
        raise InputError(
            f"Device {device!r} cannot be used ({reason}); choose auto, cpu, cuda:N or a card's UUID"
        ) from None
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


def _other_accelerator() -> str | None:
    """An XPU, where torch knows one; Apple's GPUs, which have no float64, are taken where they are asked for."""
    import torch

    accelerator = getattr(torch, "accelerator", None)  # from torch 2.6 on
    if accelerator is None or not accelerator.is_available():
        return None
    kind = accelerator.current_accelerator().type
    return f"{kind}:0" if kind == "xpu" else None
