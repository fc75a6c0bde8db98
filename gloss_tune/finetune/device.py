"""Which device a name means on this machine."""

from __future__ import annotations

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
