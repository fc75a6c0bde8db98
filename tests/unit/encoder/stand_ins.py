"""Stand-ins for CUDA's attention kernels on a CPU, under the same names and signatures, until the block ends.

torch's own gradient formulas call the backward ones: what is passed, and in which order, is checked by torch's schemas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor


def attention(
    query: Tensor, key: Tensor, value: Tensor, boundaries: list[int], scale: float, window: int | None
) -> Tensor:
    """softmax(scale · Q Kᵀ) V of each document between two boundaries, by the definition; (T, H, d) → (T, H, d)."""
    return torch.cat(
        [
            (weights @ v.transpose(0, 1)).transpose(0, 1)
            for _, _, v, weights in _documents(query, key, value, boundaries, scale, window)
        ]
    )


def attention_gradients(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    boundaries: list[int],
    scale: float,
    window: int | None,
) -> tuple[Tensor, ...]:
    """Those of query, key and value, in closed form: below autograd, where a kernel is, there is none to ask."""
    found = tuple(torch.empty_like(tensor) for tensor in (query, key, value))
    documents = _documents(query, key, value, boundaries, scale, window)
    for (start, stop), (q, k, v, weights) in zip(pairwise(boundaries), documents, strict=True):
        of_output = gradient[start:stop].transpose(0, 1)
        of_weights = of_output @ v.permute(1, 2, 0)
        of_scores = weights * (of_weights - (of_weights * weights).sum(-1, keepdim=True))
        parts = (
            scale * of_scores @ k.transpose(0, 1),
            scale * of_scores.transpose(1, 2) @ q.transpose(0, 1),
            weights.transpose(1, 2) @ of_output,
        )
        for whole, part in zip(found, parts, strict=True):
            whole[start:stop] = part.transpose(0, 1)
    return found


def _documents(
    query: Tensor, key: Tensor, value: Tensor, boundaries: list[int], scale: float, window: int | None
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Of each document its q, k and v (L, H, d), and the weights (H, L, L)."""
    for start, stop in pairwise(boundaries):
        q, k, v = (tensor[start:stop] for tensor in (query, key, value))
        scores = scale * (q.transpose(0, 1) @ k.permute(1, 2, 0))
        if window is not None:
            place = torch.arange(stop - start)
            scores = scores.masked_fill((place[:, None] - place).abs() > window, -torch.inf)
        yield q, k, v, scores.softmax(-1)


@contextmanager
def kernels_on_cpu() -> Iterator[Counter[str]]:
    """Counts the calls of each."""
    calls: Counter[str] = Counter()
    library = torch.library.Library("aten", "IMPL")

    def check(tensors: tuple[Tensor, ...], boundaries: Tensor, most: int) -> list[int]:
        edges = boundaries.tolist()
        assert boundaries.dtype == torch.int32
        assert edges[0] == 0
        assert edges[-1] == tensors[0].shape[-3]
        assert max(b - a for a, b in pairwise(edges)) <= most
        assert all(tensor.stride(-1) == 1 for tensor in tensors)
        return edges

    def flash_forward(
        q, k, v, cum_q, cum_k, max_q, max_k, dropout, causal, debug, *, scale=None, window_size_left=None,
        window_size_right=None, **_,
    ):  # fmt: skip
        calls["flash forward"] += 1
        assert (dropout, causal, debug) == (0.0, False, False)
        assert window_size_left == window_size_right
        assert max_q == max_k
        assert torch.equal(cum_q, cum_k)
        output = attention(q, k, v, check((q, k, v), cum_q, max_q), scale, window_size_left)
        lse = q.new_zeros(q.shape[1], q.shape[0], dtype=torch.float32)
        state = torch.zeros(2, dtype=torch.uint64)
        return output, lse, state, torch.zeros((), dtype=torch.uint64), q.new_zeros(0)

    def flash_backward(
        gradient, q, k, v, out, lse, cum_q, cum_k, max_q, max_k, dropout, causal, state, unused, *, scale=None,
        window_size_left=None, window_size_right=None,
    ):  # fmt: skip
        calls["flash backward"] += 1
        edges = check((q, k, v), cum_q, max_q)
        return attention_gradients(gradient, q, k, v, edges, scale, window_size_left)

    def efficient_forward(
        q, k, v, bias, cum_q, cum_k, max_q, max_k, dropout, mask, with_gradient=False, *, scale=None, **_
    ):
        calls["efficient forward"] += 1
        calls["with gradient"] += with_gradient
        assert (bias, dropout, mask) == (None, 0.0, 0)
        assert q.shape[0] == 1
        output = attention(
            q.squeeze(0), k.squeeze(0), v.squeeze(0), check((q, k, v), cum_q, max_q), scale, None
        )
        number = torch.zeros((), dtype=torch.int64)
        return output.unsqueeze(0), q.new_zeros(1, dtype=torch.float32), number, number, max_q, max_k

    def efficient_backward(
        gradient, q, k, v, bias, out, cum_q, cum_k, max_q, max_k, lse, dropout, seed, offset, mask, of_bias, *,
        scale=None, **_,
    ):  # fmt: skip
        calls["efficient backward"] += 1
        tensors = tuple(tensor.squeeze(0) for tensor in (q, k, v))
        edges = check((q, k, v), cum_q, max_q)
        found = attention_gradients(gradient.squeeze(0), *tensors, edges, scale, None)
        return *(tensor.unsqueeze(0) for tensor in found), q.new_zeros(())

    library.impl("_flash_attention_forward", flash_forward, "CPU")
    library.impl("_flash_attention_backward", flash_backward, "CPU")
    library.impl("_efficient_attention_forward", efficient_forward, "CPU")
    library.impl("_efficient_attention_backward", efficient_backward, "CPU")
    try:
        yield calls
    finally:
        library._destroy()
