"""What an encoder computes in: float32, or less where the machine is measurably faster in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from gloss_tune.finetune.speeds import product_speeds

if TYPE_CHECKING:
    from gloss_tune.encoder import Encoder

#: From the most exact on; a less exact one must be faster by so much.
_CANDIDATES = {"float32": 1.0, "bfloat16": 1.05}


@dataclass(frozen=True)
class Choice:
    """A precision and why it was taken.

    Args:
        precision: ``float32`` or ``bfloat16``.
        reason: in words.
        speeds: GFLOP/s of the encoder's matrix products by precision; empty where nothing was measured.
    """

    precision: str
    reason: str
    speeds: Mapping[str, float] = field(default_factory=dict)


def choose(precision: str, encoder: Encoder) -> Choice:
    """What a wish comes to for an encoder on its device.

    Args:
        precision: ``bfloat16``, ``float32``, or ``auto``: the fastest on a CPU as measured, and bfloat16 on a card
            that multiplies in it.
        encoder: loaded.
    """
    device = encoder.device
    if precision != "float32" and not encoder.choice.bfloat16:
        return Choice("float32", "this encoder computes in nothing less")
    if precision != "auto":
        return Choice(precision, "as was asked for")
    if device.type == "cpu":
        return fastest(product_speeds(encoder))
    native = native_bfloat16(device)
    return Choice(
        "bfloat16" if native else "float32", f"{device.type} {'has' if native else 'lacks'} it natively"
    )


def fastest(speeds: Mapping[str, float]) -> Choice:
    """The fastest precision; of those that are about as fast, the most exact."""
    worth = {
        name: speeds[name] / advantage for name, advantage in _CANDIDATES.items() if speeds.get(name)
    } or {"float32": 0.0}
    chosen = max(worth, key=lambda name: worth[name])
    shown = ", ".join(f"{name} {speed:.0f}" for name, speed in speeds.items())
    return Choice(chosen, f"GFLOP/s of its matrix products here: {shown or 'not measured'}", dict(speeds))


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """A context for the encoder's forward pass.

    Args:
        precision: ``bfloat16`` or ``float32``.
        device: where the encoder is.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def computes_in(precision: str, device: torch.device) -> bool:
    """Whether this build of torch multiplies in a precision on a device at all, however slowly."""
    try:
        with torch.no_grad(), autocast(precision, device):
            ones = torch.ones(8, 8, device=device)
            return bool(torch.isfinite(F.linear(ones, ones)).all())
    except (RuntimeError, TypeError):
        return False


def native_bfloat16(device: torch.device) -> bool:
    """Whether a card multiplies matrices in bfloat16 by itself."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
