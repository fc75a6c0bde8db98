"""Which documents of a batch hide their label."""

from __future__ import annotations

import torch
from torch import Tensor


def random_mask(labels: Tensor, mask_ratio: float, generator: torch.Generator | None = None) -> Tensor:
    """A random, stratified choice of the documents whose labels are hidden.

    round(mask_ratio * B) documents are hidden, but at least one and at most B - 1. Who stays visible: first
    one random document of each class that has two or more in the batch (without it, nothing of that class
    could be learned from this batch), then those that are alone in their class (hidden, they could not be
    learned from either), then any others at random.

    Args:
        labels: (B,), class of each document; best on the CPU, since a copy is made there.
        mask_ratio: part of the batch to hide, in (0, 1); 1 - γ in the paper's terms (γ is the visible part).
        generator: CPU generator, which alone decides the choice; torch's default one if ``None``.

    Returns:
        (B,), bool, True where hidden; on the CPU, so that :func:`gloss_loss` need not wait for a device. A
        batch of fewer than two documents hides nothing.

    Raises:
        ValueError: if ``mask_ratio`` is outside (0, 1) or ``labels`` is not a vector.
    """
    check_mask_ratio(mask_ratio)
    if labels.ndim != 1:
        raise ValueError(f"labels must be a vector (B,), got shape {tuple(labels.shape)}; flatten it")
    B = labels.shape[0]
    if B < 2:
        return torch.zeros(B, dtype=torch.bool)
    hidden = min(max(round(mask_ratio * B), 1), B - 1)

    _, class_of, sizes = torch.unique(labels.cpu(), return_inverse=True, return_counts=True)
    rank = torch.randperm(B, generator=generator)
    lowest_rank = torch.full_like(sizes, B).scatter_reduce_(0, class_of, rank, "amin")  # of each class
    alone = sizes[class_of] == 1
    representative = (rank == lowest_rank[class_of]) & ~alone
    tier = 2 - 2 * representative.long() - alone.long()  # 0: representative, 1: alone, 2: any other
    stays_visible_first = torch.argsort(tier * B + rank)

    masked = torch.zeros(B, dtype=torch.bool)
    masked[stays_visible_first[B - hidden :]] = True
    return masked


def check_mask_ratio(mask_ratio: float) -> None:
    """Refuse a ratio that hides none or all."""
    if not 0.0 < mask_ratio < 1.0:
        raise ValueError(
            f"mask_ratio: must be above 0 and below 1, got {mask_ratio!r}; the paper's γ is 1 - mask_ratio"
        )
