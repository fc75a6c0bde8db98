"""The weights of encoder and head under one roof: copied, moved to the CPU, and put back."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from gloss_tune.encoder import Encoder
from gloss_tune.finetune.memory import OutOfMemory, attempt, free_memory


def copied_weights(encoder: Encoder, head: nn.Linear) -> dict[str, Tensor]:
    """A copy of all weights on the CPU, by names that open with ``encoder.`` or ``head.``."""
    of_head = {
        f"head.{name}": value.detach().to("cpu", copy=True) for name, value in head.state_dict().items()
    }
    return {**{f"encoder.{name}": value for name, value in encoder.weights().items()}, **of_head}


def kept_weights(encoder: Encoder, head: nn.Linear) -> dict[str, Tensor]:
    """As :func:`copied_weights`, but on a GPU they stay there if its memory suffices: no copy then waits for it."""
    if encoder.device.type == "cpu":
        return copied_weights(encoder, head)

    def clones() -> dict[str, Tensor]:
        parts = {"encoder.": encoder.model, "head.": head}
        return {
            prefix + name: value.detach().clone()
            for prefix, part in parts.items()
            for name, value in part.state_dict().items()
        }

    kept = attempt(clones)
    if isinstance(kept, OutOfMemory):
        free_memory(encoder.device)
        return copied_weights(encoder, head)
    return kept


def on_cpu(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same on the CPU; those of a GPU come one after the other, and only the last one is waited for."""
    names = list(weights)
    return {name: weights[name].to("cpu", non_blocking=name != names[-1]) for name in names}


def load_weights(encoder: Encoder, head: nn.Linear, weights: Mapping[str, Tensor]) -> None:
    """Put what :func:`copied_weights` gave into encoder and head."""

    def of(part: str) -> dict[str, Tensor]:
        return {name[len(part) :]: value for name, value in weights.items() if name.startswith(part)}

    encoder.load_weights(of("encoder."))
    head.load_state_dict(of("head."))
