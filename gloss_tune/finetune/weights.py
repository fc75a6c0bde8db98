"""The weights of encoder and head under one roof: copied to the CPU, and put back."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from gloss_tune.encoder import Encoder


def copied_weights(encoder: Encoder, head: nn.Linear) -> dict[str, Tensor]:
    """A copy of all weights on the CPU, by names that open with ``encoder.`` or ``head.``."""
    of_head = {
        f"head.{name}": value.detach().to("cpu", copy=True) for name, value in head.state_dict().items()
    }
    return {**{f"encoder.{name}": value for name, value in encoder.weights().items()}, **of_head}


def load_weights(encoder: Encoder, head: nn.Linear, weights: Mapping[str, Tensor]) -> None:
    """Put what :func:`copied_weights` gave into encoder and head."""

    def of(part: str) -> dict[str, Tensor]:
        return {name[len(part) :]: value for name, value in weights.items() if name.startswith(part)}

    encoder.load_weights(of("encoder."))
    head.load_state_dict(of("head."))
