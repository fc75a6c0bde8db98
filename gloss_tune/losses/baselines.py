"""What G-Loss is compared with, and all losses by name.

Each is a function of the L2-normalised embeddings of one batch, at least float32 inside autocast. A batch
that holds no pair to compare gives a zero with a zero gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from gloss_tune.errors import SpecError
from gloss_tune.losses.gloss import gloss_loss, zero_loss
from gloss_tune.losses.graph import check_embeddings, check_normalization, check_temperature, full_precision
from gloss_tune.losses.label_propagation import check_iterations, check_num_classes
from gloss_tune.losses.masking import check_mask_ratio, random_mask

_SMALLEST_TERM = 1e-16  # of a triplet that counts, as in sentence-transformers

LOSSES = ("gloss", "ce", "scl", "triplet", "cosine")

#: (embeddings (B, D), labels (B,), generator of the masks) → scalar
BatchLoss: TypeAlias = Callable[[Tensor, Tensor, torch.Generator], Tensor]


def build_loss(
    name: str,
    *,
    num_classes: int,
    mask_ratio: float,
    iterations: int | None,
    temperature: float,
    normalization: str,
    margin: float,
    class_weights: Tensor | None = None,
) -> BatchLoss | None:
    """The loss of this name, closed over its parameters.

    Args:
        name: one of :data:`LOSSES`.
        num_classes: C ≥ 2.
        mask_ratio: ``gloss``: part of the batch whose labels are hidden, in (0, 1).
        iterations: ``gloss``: steps K ≥ 1, or ``None`` for the closed form.
        temperature: ``gloss``: similarity temperature τ > 0; ``scl``: temperature of its softmax.
        normalization: ``gloss``: one of :data:`NORMALIZATIONS`.
        margin: ``triplet``: in units of Euclidean distance between unit vectors, which is at most 2.
        class_weights: (C,), what a document of each class counts for in the mean over masked documents (``gloss``) or
            anchors (``scl``). ``triplet`` and ``cosine`` are means over triplets and pairs and do not use it.

    Returns:
        A function (embeddings (B, D), labels (B,) int64, CPU generator of the masks) → scalar, or ``None``
        for ``ce``, which has no part beside the classification head. Labels are best left on the CPU: then
        ``gloss`` never waits for the device.

    Raises:
        SpecError: with every fault at once.
    """
    faults: list[str] = []
    checks: tuple[tuple[Callable[[Any], None], object], ...] = (
        (_check_name, name),
        (check_num_classes, num_classes),
        (check_mask_ratio, mask_ratio),
        (check_iterations, iterations),
        (check_temperature, temperature),
        (check_normalization, normalization),
        (_check_margin, margin),
    )
    for check, value in checks:
        try:
            check(value)
        except ValueError as fault:
            faults.append(str(fault))
    if faults:
        raise SpecError(faults)

    def gloss(embeddings: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        labels = labels if labels.device.type == "cpu" else labels.cpu()
        masked = random_mask(labels, mask_ratio, generator)
        return gloss_loss(
            embeddings,
            labels,
            masked,
            num_classes,
            temperature=temperature,
            iterations=iterations,
            normalization=normalization,
            class_weights=class_weights,
        )

    def scl(embeddings: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return supervised_contrastive_loss(
            embeddings, labels, temperature=temperature, class_weights=class_weights
        )

    def triplet(embeddings: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return batch_all_triplet_loss(embeddings, labels, margin=margin)

    def cosine(embeddings: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return cosine_similarity_loss(embeddings, labels)

    return {"gloss": gloss, "scl": scl, "triplet": triplet, "cosine": cosine}.get(name)


def supervised_contrastive_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    temperature: float = 0.1,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Supervised contrastive loss, L_out (Khosla et al. 2020, arXiv 2004.11362, equation 2).

        mean over anchors i of  -1/|P(i)| Σ_{p in P(i)} log( exp(x_i·x_p / τ) / Σ_{a ≠ i} exp(x_i·x_a / τ) )

    P(i) are the other documents of i's class. Anchors without any are left out of the mean. One view a
    document: texts are not augmented.

    Args:
        embeddings: (B, D), not necessarily normalised.
        labels: (B,), class numbers, on any device.
        temperature: τ > 0; the paper uses 0.1.
        class_weights: (C,), above 0, what an anchor of each class counts for in the mean; ``None`` for 1 each.

    Returns:
        Scalar, at least 0; float64 for float64 embeddings, else float32.

    Raises:
        ValueError: if a shape does not fit or the temperature is not positive.
    """
    check_temperature(temperature)
    with full_precision(embeddings.device):
        X, labels = _prepare(embeddings, labels)
        B = X.shape[0]
        if B < 2:
            return zero_loss(embeddings)
        itself = torch.eye(B, dtype=torch.bool, device=X.device)
        logits = (X @ X.T / temperature).masked_fill(itself, -math.inf)  # (B, D) → (B, B)
        log_probability = F.log_softmax(logits, dim=1)
        positive = (labels[:, None] == labels) & ~itself
        positives = positive.sum(dim=1)  # (B,)
        per_anchor = -torch.where(positive, log_probability, 0.0).sum(dim=1) / positives.clamp_min(1)
        counts = (positives > 0).to(X.dtype)
        if class_weights is not None:
            counts = counts * class_weights.to(X)[labels]
        return (per_anchor * counts).sum() / counts.sum().clamp_min(torch.finfo(X.dtype).tiny)


def batch_all_triplet_loss(embeddings: Tensor, labels: Tensor, *, margin: float = 0.5) -> Tensor:
    """Batch-all triplet loss (Hermans et al. 2017, arXiv 1703.07737).

        mean over triplets with a positive term of  ‖x_a - x_p‖ - ‖x_a - x_n‖ + margin

    over all anchors a, documents p of the same and n of another class. This is sentence-transformers'
    ``BatchAllTripletLoss``, and a test holds the two equal; that class waits six times for a GPU, this function never
    if ``labels`` lives on the CPU, where the pairs are told. Memory: tensors of up to B³ / 2 numbers, with two classes
    (4 MB each at B = 128, 270 MB each at B = 512).

    Args:
        embeddings: (B, D), not necessarily normalised; they are normalised here, unlike in
            sentence-transformers, so that the margin means the same for every encoder.
        labels: (B,), class numbers, on any device.
        margin: above 0; unit vectors are at most 2 apart, so a margin of 2 or more is never met.

    Returns:
        Scalar, at least 0; float64 for float64 embeddings, else float32.

    Raises:
        ValueError: if a shape does not fit or the margin is not positive.
    """
    _check_margin(margin)
    with full_precision(embeddings.device):
        X, moved = _prepare(embeddings, labels)
        same = (labels[:, None] == labels).fill_diagonal_(False)
        anchors, positives = (_moved(indices, X.device) for indices in same.nonzero(as_tuple=True))  # (P,)
        from_anchor = _distances(X).index_select(0, anchors)  # (P, B)
        terms = from_anchor.gather(1, positives[:, None]) - from_anchor + margin
        other_class = moved.index_select(0, anchors)[:, None] != moved
        terms = torch.where(other_class, terms, 0.0).relu()
        return terms.sum() / (terms > _SMALLEST_TERM).sum().clamp_min(1)


def cosine_similarity_loss(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Cosine similarity loss over all pairs of the batch (Reimers & Gurevych 2019, arXiv 1908.10084).

        mean over pairs i < j of  (cos_ij - target_ij)²,  target 1 for documents of one class, else 0

    This is sentence-transformers' ``CosineSimilarityLoss`` on all pairs, as in the published G-Loss code.
    That class wants each pair's two embeddings in memory; here the pairs come from one (B, B) product, about
    50 times faster at B = 128, and a test holds the two equal. Every pair counts the same, so with many
    classes the push apart outweighs the pull together, and a batch without two documents of one class still
    has a loss.

    Args:
        embeddings: (B, D), not necessarily normalised.
        labels: (B,), class numbers, on any device.

    Returns:
        Scalar, in [0, 4]; float64 for float64 embeddings, else float32.

    Raises:
        ValueError: if a shape does not fit.
    """
    with full_precision(embeddings.device):
        X, labels = _prepare(embeddings, labels)
        B = X.shape[0]
        if B < 2:
            return zero_loss(embeddings)
        target = (labels[:, None] == labels).to(X.dtype)
        return (X @ X.T - target).square().triu(diagonal=1).sum() / (B * (B - 1) / 2)


def _distances(X: Tensor) -> Tensor:
    """Euclidean distances (B, B) of the rows of X, with gradient 0 where they are 0."""
    products = X @ X.T
    squares = products.diagonal()
    squared = (squares[:, None] - 2.0 * products + squares).clamp_min(0.0)
    is_zero = squared == 0.0
    return torch.where(is_zero, 0.0, torch.where(is_zero, 1.0, squared).sqrt())


def _moved(indices: Tensor, device: torch.device) -> Tensor:
    """On a device, without a wait for it: a large copy waits unless it comes from pinned memory."""
    if device.type == "cuda" and indices.device.type == "cpu":
        indices = indices.pin_memory()
    return indices.to(device, non_blocking=True)


def _prepare(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    check_embeddings(embeddings)
    if labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"labels must be of shape ({embeddings.shape[0]},), one for each document, got "
            f"{tuple(labels.shape)}; flatten them"
        )
    embeddings = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    return F.normalize(embeddings, dim=1), labels.to(embeddings.device, non_blocking=True)


def _check_name(name: str) -> None:
    if name not in LOSSES:
        raise ValueError(f"loss: must be one of {', '.join(LOSSES)}, got {name!r}; choose one of these")


def _check_margin(margin: float) -> None:
    if not 0.0 < margin < math.inf:
        raise ValueError(f"margin: must be a finite number above 0, got {margin!r}; 0.2 to 1 is usual")
