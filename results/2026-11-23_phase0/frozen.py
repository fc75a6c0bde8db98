"""How well labels propagate on the embeddings of an encoder that nothing has trained yet."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gloss_tune.losses import propagate_labels, random_mask, similarity_graph, transition_matrix
from gloss_tune.seeding import derive_seed


@dataclass(frozen=True)
class FrozenScore:
    """How one setting of the graph does on frozen embeddings.

    Args:
        mask_ratio: part of each batch whose labels are hidden.
        temperature: similarity temperature τ.
        loss: mean G-Loss of the hidden documents, leaving out those whose class nobody shows in their batch.
        accuracy: part of all hidden documents whose most probable class is the true one.
    """

    mask_ratio: float
    temperature: float
    loss: float
    accuracy: float


@torch.no_grad()
def score_settings(
    embeddings: Tensor,
    labels: Tensor,
    batches: Sequence[NDArray[np.int64]],
    *,
    mask_ratios: Sequence[float],
    temperatures: Sequence[float],
    iterations: Sequence[int | None],
    normalization: str = "random_walk",
    seed: int = 0,
) -> list[FrozenScore]:
    """Propagate labels under every combination of settings; those of one ``mask_ratio`` share their masks.

    Cost: a graph for each batch and temperature, and K products (M, M) @ (M, C) for each combination.

    Args:
        embeddings: (N, D), not necessarily normalised.
        labels: (N,), int64, from 0.
        batches: indices of documents, at least two in each; see :func:`gloss_tune.data.epoch_batches`.
        mask_ratios: each in (0, 1).
        temperatures: each above 0.
        iterations: each at least 1, or None for the closed form; scores are means over these.
        normalization: one of :data:`gloss_tune.losses.NORMALIZATIONS`.
        seed: decides the masks.

    Returns:
        One score for each pair, ``mask_ratios`` varying slowest.
    """
    X = embeddings.double()  # float32 would lose every weight of the graph at a small temperature
    totals = torch.zeros(len(mask_ratios), len(temperatures), 4, dtype=torch.float64)
    for number, batch in enumerate(batches):
        # a class that is not in the batch gets no mass: without it the result is the same, at less cost
        present, batch_labels = torch.unique(labels[batch], return_inverse=True)
        mask_seed = derive_seed(seed, "frozen", number)
        masks = [
            random_mask(batch_labels, ratio, torch.Generator().manual_seed(mask_seed))
            for ratio in mask_ratios
        ]
        for t, temperature in enumerate(temperatures):
            P = transition_matrix(similarity_graph(X[batch], temperature), normalization)
            for m, masked in enumerate(masks):
                for steps in iterations:
                    F_u = propagate_labels(P, batch_labels, masked, len(present), steps)  # (M, C)
                    totals[m, t] += _sums(F_u, batch_labels, masked)
    pairs = itertools.product(mask_ratios, temperatures)
    return [
        FrozenScore(*pair, loss=surprise / max(learnable, 1.0), accuracy=right / hidden)
        for pair, (surprise, learnable, right, hidden) in zip(
            pairs, totals.reshape(-1, 4).tolist(), strict=True
        )
    ]


def _sums(F_u: Tensor, labels: Tensor, masked: Tensor) -> Tensor:
    """Of one batch: loss and number of learnable hidden documents; right ones and number of all hidden ones, (4,)."""
    labels_u = labels[masked]  # (M,)
    shown = torch.bincount(labels[~masked], minlength=F_u.shape[1]) > 0
    learnable = shown[labels_u]
    probability = F_u.gather(1, labels_u[:, None]).squeeze(1)  # (M, C) → (M,)
    surprise = -probability[learnable].clamp_min(torch.finfo(F_u.dtype).tiny).log()
    right = F_u.argmax(dim=1) == labels_u
    return torch.stack([surprise.sum(), learnable.sum(), right.sum(), masked.sum()])
