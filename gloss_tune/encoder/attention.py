"""Attention over documents that lie end to end, each of which sees itself alone.

It is registered with transformers under :data:`NAME`. Where a call carries no layout, it is transformers' own
``sdpa`` with its mask, so that the encoder works as ever for everyone else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from gloss_tune.encoder import kernels
from gloss_tune.encoder.buckets import Run, lanes, put_back, rectangle
from gloss_tune.encoder.dropout import draw_kept
from gloss_tune.encoder.layout import Layout

NAME = "gloss_tune_packed"
# What a layer may say beside its tensors without asking for another attention than the plain one.
_WITHOUT_EFFECT = frozenset(
    {"position_ids", "output_attentions", "output_hidden_states", "use_cache", "return_dict", "deterministic"}
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
    sliding_window: int | None = None,
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
        sliding_window: with a layout, a token sees those less than so many places away, to both sides.
        layout: of the documents.

    Returns:
        (1, T, H, d), or (B, L, H, d); and None for the weights.

    Raises:
        ValueError: with a layout, if the layer wants more: a bias, one direction.
    """
    if layout is None:
        # there a window is part of the mask
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
    window = None if sliding_window is None or sliding_window >= layout.longest else sliding_window - 1
    compute = attend_in_runs if query.device.type == "cpu" else kernels.attend
    return compute(query, key, value, layout, scale, dropout, window), None


def attend_in_runs(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    scale: float,
    dropout: float,
    window: int | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Run by run, each small enough for the caches; with its own gradient, which pads and cuts without sums.

    ``bias`` (2 L - 1, H), of each distance from query to key, is added to the scores; L is the longest document.
    """
    runs = layout.runs(lanes(query.dtype))
    # rotary positions leave queries and keys in float32 beside values in autocast's precision
    half = (kernels.cast_as_autocast(tensor) for tensor in (query, key, value))
    tokens = (tensor.squeeze(0).transpose(0, 1) for tensor in half)  # (T, H, d)
    output: Tensor = _RunAttention.apply(*tokens, bias, runs, scale, dropout, window)  # type: ignore[no-untyped-call]
    return output.unsqueeze(0)


class _RunAttention(torch.autograd.Function):
    """softmax(scale · Q Kᵀ) with dropout, times V, for each document; (T, H, d) three times → (T, H, d)."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bias: Tensor | None,
        runs: list[Run],
        scale: float,
        dropout: float,
        window: int | None,
    ) -> Tensor:
        output = torch.empty(query.shape, dtype=query.dtype)
        saved: list[Tensor | None] = []
        keep_scale = 1.0
        with torch.autocast("cpu", enabled=False):
            for run in runs:
                q, k, v = _rectangles(query, key, value, run)
                weights = _weights(q, k, run, scale, window, bias)
                kept = None
                dropped = weights
                if dropout > 0.0:
                    kept, keep_scale = draw_kept(weights.shape, dropout)
                    dropped = kept.to(weights.dtype).mul_(weights).mul_(keep_scale)
                put_back(torch.bmm(dropped, v), run, output)
                saved.extend((weights, kept))
        ctx.save_for_backward(query, key, value, bias, *saved)
        ctx.runs, ctx.scale, ctx.keep_scale = runs, scale, keep_scale
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, bias, *saved = ctx.saved_tensors
        gradients = tuple(torch.empty(tensor.shape, dtype=tensor.dtype) for tensor in (query, key, value))
        of_bias = None if bias is None else torch.zeros_like(bias)
        with torch.autocast("cpu", enabled=False):
            for run, weights, kept in zip(ctx.runs, saved[::2], saved[1::2], strict=True):
                q, k, v = _rectangles(query, key, value, run)
                of_output = rectangle(gradient, run, run.query_tokens, run.queries, zero=run.padding)
                of_weights = torch.bmm(of_output, v.transpose(1, 2))
                dropped = weights
                if kept is not None:
                    keep = kept.to(weights.dtype).mul_(ctx.keep_scale)
                    dropped = keep * weights
                    of_weights.mul_(keep)
                of_value = torch.bmm(dropped.transpose(1, 2), of_output)
                of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
                if of_bias is not None:
                    by_head = of_scores.view(run.documents, -1, run.queries, run.keys).sum(0)  # (H, L, K)
                    rows = by_head.permute(1, 2, 0).flatten(0, 1).to(of_bias.dtype)
                    of_bias.index_add_(0, _distances(run, of_bias).flatten(), rows)
                of_scores.mul_(ctx.scale)
                of_query = torch.bmm(of_scores, k)
                of_key = torch.bmm(of_scores.transpose(1, 2), q)
                for whole, part in zip(gradients, (of_query, of_key, of_value), strict=True):
                    put_back(part, run, whole)
        return *gradients, of_bias, None, None, None, None


def _rectangles(query: Tensor, key: Tensor, value: Tensor, run: Run) -> tuple[Tensor, Tensor, Tensor]:
    """Q (b · H, L, d), K and V (b · H, K, d); padding repeats a token, which masks and weights of 0 then hide."""
    return (
        rectangle(query, run, run.query_tokens, run.queries),
        rectangle(key, run, run.key_tokens, run.keys),
        rectangle(value, run, run.key_tokens, run.keys),
    )


def _distances(run: Run, bias: Tensor) -> Tensor:
    """int64 (L, K): which row of a bias belongs to each query and key; beyond the last, that of a masked key."""
    reach = len(bias) // 2
    return (torch.arange(run.keys) - torch.arange(run.queries)[:, None] + reach).clamp_(0, len(bias) - 1)


def _weights(
    query: Tensor, key: Tensor, run: Run, scale: float, window: int | None, bias: Tensor | None
) -> Tensor:
    """Attention's weights (b · H, L, K); those on padding are 0, and those further away than a window."""
    scores = torch.bmm(query, key.transpose(1, 2)).mul_(scale)
    if bias is not None:
        by_head = bias[_distances(run, bias)].permute(2, 0, 1)  # (H, L, K)
        scores.view(run.documents, -1, run.queries, run.keys).add_(by_head)
    if window is not None and window < run.queries - 1:
        far = (torch.arange(run.queries)[:, None] - torch.arange(run.keys)).abs() > window
        # not -inf: a row of padding may see nothing else, and its NaN would reach the keys' gradients
        scores.masked_fill_(far, torch.finfo(scores.dtype).min)
    by_document = scores.view(run.documents, -1, run.keys)  # (b, H · L, K)
    for start, stop, real in run.masked:
        by_document[start:stop, :, real:] = float("-inf")
    return scores.softmax(-1)
