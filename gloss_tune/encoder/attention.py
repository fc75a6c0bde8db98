"""Attention over documents that lie end to end, each of which sees itself alone.

It is registered with transformers under :data:`NAME`. Where a call carries no layout, it is transformers' own
``sdpa`` with its mask, so that the encoder works as ever for everyone else.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from gloss_tune.encoder.dropout import draw_kept
from gloss_tune.encoder.layout import Layout, Run

NAME = "gloss_tune_packed"
# What a layer may say beside its tensors without asking for another attention than the plain one.
_WITHOUT_EFFECT = frozenset(
    {"position_ids", "output_attentions", "output_hidden_states", "use_cache", "return_dict"}
)


def register() -> None:
    """Make the attention known to transformers; repeating it changes nothing."""
    AttentionInterface.register(NAME, attention_forward)
    AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


def attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    layout: Layout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in every layer.

    Args:
        module: the layer.
        query: (1, H, T, d) with a layout, (B, H, L, d) without one.
        key: as ``query``.
        value: as ``query``.
        attention_mask: None with a layout.
        dropout: of the attention's weights; 0 in evaluation.
        scaling: of the scores, by default d^-½.
        layout: of the documents.

    Returns:
        (1, T, H, d), or (B, L, H, d); and None for the weights.

    Raises:
        ValueError: with a layout, if the layer wants more: a window, a bias, one direction.
    """
    if layout is None:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output, None
    wishes = [
        name
        for name, value in kwargs.items()
        if value is not None and value is not False and name not in _WITHOUT_EFFECT
    ]
    if wishes or getattr(module, "is_causal", False) or attention_mask is not None:
        raise ValueError(f"Packed attention is plain and in both directions, got {wishes or 'a mask'}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (T, H, d)
    compute = _in_runs if query.device.type == "cpu" else _jagged
    return compute(query, key, value, layout, scale, dropout)[None], None


def _jagged(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, dropout: float
) -> Tensor:
    """By torch's fused attention over documents of different lengths."""

    def documents(tensor: Tensor) -> Tensor:
        nested = torch.nested.nested_tensor_from_jagged(
            tensor.contiguous(),
            layout.offsets_on_device,
            min_seqlen=layout.shortest,
            max_seqlen=layout.longest,
        )
        return nested.transpose(1, 2)  # (B, H, L of each, d)

    output = F.scaled_dot_product_attention(
        documents(query), documents(key), documents(value), dropout_p=dropout, scale=scale
    )
    values: Tensor = output.transpose(1, 2).values()
    return values


def _in_runs(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, dropout: float
) -> Tensor:
    """Run by run, each small enough for the caches; with its own gradient, which pads and cuts without sums."""
    output: Tensor = _RunAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, layout.runs, scale, dropout
    )
    return output


class _RunAttention(torch.autograd.Function):
    """softmax(scale · Q Kᵀ) with dropout, times V, for each document; (T, H, d) three times → (T, H, d)."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, runs: list[Run], scale: float, dropout: float
    ) -> Tensor:
        output = torch.empty(query.shape, dtype=query.dtype)
        saved: list[Tensor | None] = []
        keep_scale = 1.0
        with torch.autocast("cpu", enabled=False):
            for run in runs:
                q, k, v = (_rectangle(tensor[run.tokens], run) for tensor in (query, key, value))
                weights = _weights(q, k, run, scale)
                kept = None
                dropped = weights
                if dropout > 0.0:
                    kept, keep_scale = draw_kept(weights.shape, dropout)
                    dropped = kept.to(weights.dtype).mul_(weights).mul_(keep_scale)
                output[run.tokens] = _flat(torch.bmm(dropped, v), run, query.shape[1])
                saved.extend((weights, kept))
        ctx.save_for_backward(query, key, value, *saved)
        ctx.runs, ctx.scale, ctx.keep_scale = runs, scale, keep_scale
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *saved = ctx.saved_tensors
        gradients = tuple(torch.empty(tensor.shape, dtype=tensor.dtype) for tensor in (query, key, value))
        heads = query.shape[1]
        with torch.autocast("cpu", enabled=False):
            for run, weights, kept in zip(ctx.runs, saved[::2], saved[1::2], strict=True):
                q, k, v = (_rectangle(tensor[run.tokens], run) for tensor in (query, key, value))
                of_output = _rectangle(gradient[run.tokens], run)
                of_weights = torch.bmm(of_output, v.transpose(1, 2))
                dropped = weights
                if kept is not None:
                    keep = kept.to(weights.dtype).mul_(ctx.keep_scale)
                    dropped = keep * weights
                    of_weights.mul_(keep)
                of_value = torch.bmm(dropped.transpose(1, 2), of_output)
                of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype).mul_(
                    ctx.scale
                )
                of_query = torch.bmm(of_scores, k)
                of_key = torch.bmm(of_scores.transpose(1, 2), q)
                for whole, part in zip(gradients, (of_query, of_key, of_value), strict=True):
                    whole[run.tokens] = _flat(part, run, heads)
        return *gradients, None, None, None


def _weights(query: Tensor, key: Tensor, run: Run, scale: float) -> Tensor:
    """Attention's weights (b · H, L, L); those on padding are 0."""
    scores = torch.bmm(query, key.transpose(1, 2)).mul_(scale)
    if run.bias is not None:
        by_document = scores.view(run.documents, -1, run.longest)  # (b, H · L, L)
        by_document.add_(run.bias.to(scores.dtype))
    return scores.softmax(-1)


def _rectangle(tokens: Tensor, run: Run) -> Tensor:
    """A run's tokens (T of the run, H, d) as (b · H, L, d), zeros on padding."""
    heads, width = tokens.shape[1:]
    if run.real is not None:
        padded = tokens.new_zeros(run.documents * run.longest, heads, width)
        padded[run.real] = tokens
        tokens = padded
    by_document = tokens.view(run.documents, run.longest, heads, width).transpose(1, 2)
    return by_document.reshape(run.documents * heads, run.longest, width)


def _flat(rectangle: Tensor, run: Run, heads: int) -> Tensor:
    """Back from (b · H, L, d) to the run's tokens (T of the run, H, d)."""
    width = rectangle.shape[-1]
    by_document = rectangle.view(run.documents, heads, run.longest, width).transpose(1, 2)
    flat = by_document.reshape(run.documents * run.longest, heads, width)
    return flat if run.real is None else flat[run.real]
