"""bfloat16 autocast where the device computes it natively."""

from __future__ import annotations

import torch


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """A context for the encoder's forward pass.

    Args:
        precision: ``bfloat16``, ``float32``, or ``auto``: bfloat16 where :func:`native_bfloat16`.
        device: where the encoder is.
    """
    enabled = settled(precision, device) == "bfloat16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def settled(precision: str, device: torch.device) -> str:
    """``bfloat16`` or ``float32``: what ``auto`` comes to on a device."""
    if precision != "auto":
        return precision
    return "bfloat16" if native_bfloat16(device) else "float32"


def native_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies matrices in bfloat16 by itself, about 1.6 times faster or better."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # torch before 2.10 does not tell; float32 is then right, only slower
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False
