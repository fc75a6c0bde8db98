"""Attention over documents that lie end to end, by torch's own kernels for documents of different lengths.

They are called as torch registers them, with the documents' boundaries: its jagged tensors would lead to the same
kernels through some 140 Python calls a layer and pass, which took ten times as long as the host's share of the kernels
themselves. Their gradients are torch's own as well, and so is dropout, drawn from the device's default generator.

    flash       bfloat16 and float16 on CUDA from Ampere on
    efficient   what else CUDA computes: float32, and older cards
    padded      windows where only ``efficient`` would do, which has none: a rectangle with a mask
    jagged      other devices, as far as torch supports them
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from gloss_tune.encoder.layout import Layout

#: (1, T, H, d) three times, layout, scale, dropout, window → (1, T, H, d)
Kernel = Callable[[Tensor, Tensor, Tensor, Layout, float, float, "int | None"], Tensor]

_AMPERE = (8, 0)
_FLASH_WIDTHS = range(8, 193, 8)  # of a head; wider ones have no gradient on some cards
_NO_MASK = 0


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    scale: float,
    dropout: float,
    window: int | None = None,
) -> Tensor:
    """softmax(scale · Q Kᵀ) with dropout, times V, for each document.

    Args:
        query: (1, H, T, d).
        key: as ``query``.
        value: as ``query``.
        layout: of the documents.
        scale: of the scores.
        dropout: of the weights.
        window: how far away a token's keys may be, to both sides; None for the whole document.

    Returns:
        (1, T, H, d), in autocast's precision where that is on.
    """
    query, key, value = (cast_as_autocast(tensor).transpose(1, 2) for tensor in (query, key, value))
    return kernel_for(query, window)(query, key, value, layout, scale, dropout, window)


def kernel_for(query: Tensor, window: int | None = None) -> Kernel:
    """The kernel for queries (1, T, H, d)."""
    if query.device.type != "cuda" or torch.version.hip:
        return jagged if window is None else padded
    if _takes_flash(query):
        return flash
    return efficient if window is None else padded


def flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    scale: float,
    dropout: float,
    window: int | None = None,
) -> Tensor:
    """FlashAttention; see :func:`attend`."""
    reach = {} if window is None else {"window_size_left": window, "window_size_right": window}
    output: Tensor = torch.ops.aten._flash_attention_forward(
        query.squeeze(0),  # not [0], whose gradient copies everything
        key.squeeze(0),
        value.squeeze(0),
        layout.boundaries,
        layout.boundaries,
        layout.longest,
        layout.longest,
        dropout,
        False,
        False,
        scale=scale,
        **reach,
    )[0]
    return output.unsqueeze(0)


def efficient(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    scale: float,
    dropout: float,
    window: int | None = None,
) -> Tensor:
    """Memory-efficient attention; see :func:`attend`. It knows no window to both sides."""
    assert window is None
    with_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
    output: Tensor = torch.ops.aten._efficient_attention_forward(
        query,
        key,
        value,
        None,
        layout.boundaries,
        layout.boundaries,
        layout.longest,
        layout.longest,
        dropout,
        _NO_MASK,
        with_gradient,
        scale=scale,
    )[0]
    return output


def padded(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    scale: float,
    dropout: float,
    window: int | None = None,
) -> Tensor:
    """A rectangle (B, H, L, d) with a mask; see :func:`attend`."""
    real = layout.mask.bool()  # (B, L)
    place = torch.arange(layout.longest, device=query.device)
    visible = real[:, None, :]
    if window is not None:
        visible = visible & ((place[:, None] - place).abs() <= window)
    # padding sees everything: a row that sees nothing has no softmax, and its gradient would reach the keys
    visible = visible | ~real[:, :, None]  # (B, L, L)

    def documents(tensor: Tensor) -> Tensor:
        rectangle = layout.padded(tensor.squeeze(0).flatten(1))
        return rectangle.view(*rectangle.shape[:2], *tensor.shape[2:]).transpose(1, 2)

    output = F.scaled_dot_product_attention(
        documents(query),
        documents(key),
        documents(value),
        attn_mask=visible[:, None],
        dropout_p=dropout,
        scale=scale,
    )
    return output.transpose(1, 2).flatten(0, 1).index_select(0, layout.places).unsqueeze(0)


def jagged(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    scale: float,
    dropout: float,
    window: int | None = None,
) -> Tensor:
    """Whatever torch chooses for a nested tensor; see :func:`attend`."""
    assert window is None

    def documents(tensor: Tensor) -> Tensor:
        nested = torch.nested.nested_tensor_from_jagged(
            tensor.squeeze(0).contiguous(),
            layout.offsets_on_device,
            min_seqlen=layout.shortest,
            max_seqlen=layout.longest,
        )
        return nested.transpose(1, 2)  # (B, H, L of each, d)

    output = F.scaled_dot_product_attention(
        documents(query), documents(key), documents(value), dropout_p=dropout, scale=scale
    )
    values: Tensor = output.transpose(1, 2).values()
    return values.unsqueeze(0)


def cast_as_autocast(tensor: Tensor) -> Tensor:
    """As autocast does for torch's attention; it does not know the kernels by themselves."""
    kind = tensor.device.type
    if tensor.dtype == torch.float32 and torch.is_autocast_enabled(kind):
        return tensor.to(torch.get_autocast_dtype(kind))
    return tensor


def _takes_flash(query: Tensor) -> bool:
    return (
        query.dtype in (torch.bfloat16, torch.float16)
        and query.shape[-1] in _FLASH_WIDTHS
        and torch.cuda.get_device_capability(query.device) >= _AMPERE
        and torch.backends.cuda.flash_sdp_enabled()  # type: ignore[no-untyped-call]
        and _has_flash(query.device)
    )


@cache
def _has_flash(device: torch.device) -> bool:
    """Whether this build of torch has the kernel for that card, found out by a call of it."""
    tokens = torch.zeros(1, 8, 1, 8, dtype=torch.float16, device=device)
    layout = Layout.of([5, 3], device)
    try:
        with torch.no_grad():
            flash(tokens, tokens, tokens, layout, 1.0, 0.0)
    except RuntimeError as error:
        if "attention" not in str(error).lower() and "no kernel image" not in str(error):
            raise  # a card that is lost or full says nothing about the kernel
        return False
    return True
