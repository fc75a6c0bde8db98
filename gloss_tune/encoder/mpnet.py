"""MPNet without padding: its attention has a bias for each distance between tokens, and is no interface's.

The second most used of sentence encoders is one. Outside of a pass without padding, its layers are what they were.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import MPNetModel, PreTrainedModel
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder, MPNetSelfAttention

from gloss_tune.encoder.attention import attend_in_runs
from gloss_tune.encoder.packing import packed_layout


class PackedEncoder(MPNetEncoder):
    """Makes the bias once for all layers."""

    def compute_position_bias(
        self, x: Tensor, position_ids: Tensor | None = None, num_buckets: int = 32
    ) -> Tensor:
        """The bias of each distance from query to key and head, (2 L - 1, H) with L the longest document's tokens."""
        layout = packed_layout()
        if layout is None:
            whole: Tensor = super().compute_position_bias(x, position_ids, num_buckets)  # type: ignore[no-untyped-call]
            return whole
        distances = torch.arange(1 - layout.longest, layout.longest, device=x.device)
        buckets = self.relative_position_bucket(distances, num_buckets)  # type: ignore[no-untyped-call]
        biases: Tensor = self.relative_attention_bias(buckets)
        return biases


class PackedSelfAttention(MPNetSelfAttention):
    """Attention over the documents of a layout."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        """(1, T, D) → (1, T, D); of the arguments, which differ between versions, only the bias is looked at."""
        layout = packed_layout()
        if layout is None:
            outputs: tuple[Tensor, ...] = super().forward(hidden_states, *args, **kwargs)  # type: ignore[no-untyped-call]
            return outputs
        if hidden_states.device.type != "cpu":
            raise ValueError("Packed attention with a bias is for the CPU alone")
        bias = next(
            value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.ndim == 2
        )
        query, key, value = (
            project(hidden_states).unflatten(-1, (-1, self.attention_head_size)).transpose(1, 2)
            for project in (self.q, self.k, self.v)
        )
        dropout = self.dropout.p if self.training else 0.0
        scale = self.attention_head_size**-0.5
        states = attend_in_runs(query, key, value, layout, scale, dropout, bias=bias)
        return (self.o(states.flatten(2)),)


def pack_mpnet(transformer: PreTrainedModel) -> bool:
    """Let an MPNet take packed documents; False for any other transformer, which stays as it is."""
    if type(transformer) is not MPNetModel:
        return False
    for module in transformer.modules():  # weights and hooks stay as they are
        if type(module) is MPNetEncoder:
            module.__class__ = PackedEncoder
        elif type(module) is MPNetSelfAttention:
            module.__class__ = PackedSelfAttention
    return True
