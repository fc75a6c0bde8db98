"""Label propagation, F_u ← P_ul Y_l + P_uu F_u, from the visible labels to the hidden ones.

Its symbols:

    P_ul, P_uu   rows of the masked documents (u) of P, columns of the visible (l) and the masked ones
    Y_l, (L, C)  one-hot labels of the visible documents, which stay as they are ("clamped")
    F_u, (M, C)  class probabilities of the masked documents
"""

from __future__ import annotations

import torch
from torch import Tensor

from gloss_tune.losses.graph import full_precision


def propagate_labels(
    P: Tensor, labels: Tensor, masked: Tensor, num_classes: int, iterations: int | None
) -> Tensor:
    """Class probabilities of the masked documents.

    ``iterations`` steps of F_u ← P_ul Y_l + P_uu F_u from F_u = 0 (Zhu & Ghahramani 2002), then each row
    divided by its sum: after K steps the walks that have not met a visible document in K steps are missing.
    ``None`` is K → ∞, the harmonic solution F_u = (I - P_uu)⁻¹ P_ul Y_l (Zhu, Ghahramani & Lafferty 2003).
    Cost: O(K M² C), or O(M³) in closed form.

    Args:
        P: (B, B), transition probabilities, rows sum to 1; see :func:`transition_matrix`.
        labels: (B,), int64, in [0, num_classes); those of masked documents are not read (-1 will do).
        masked: (B,), bool, True where the label is hidden. On a GPU, its count is the one wait for the
            device.
        num_classes: C.
        iterations: K ≥ 1, or ``None`` for the closed form.

    Returns:
        F_u, (M, C), rows in the order of the masked documents; each sums to 1. A document that no visible
        label reaches (in the closed form: at all; else: in K steps) gets 1/C for each class.

    Raises:
        ValueError: if a shape does not fit or ``iterations`` is below 1.
    """
    if P.ndim != 2 or P.shape[0] != P.shape[1]:
        raise ValueError(f"P must be a square matrix, got shape {tuple(P.shape)}; see transition_matrix")
    check_shapes(labels, masked, batch=P.shape[0])
    check_num_classes(num_classes)
    order, visible = visible_first(masked)
    if labels.device == order.device:
        check_range(labels[order[:visible]], num_classes)
    order = order.to(P.device, non_blocking=True)
    with full_precision(P.device):
        P_u = (P if P.dtype == torch.float64 else P.float()).index_select(0, order[visible:])  # (M, B)
        P_u = P_u.index_select(1, order)
        Y_l = one_hot(labels.to(P.device, non_blocking=True)[order[:visible]], num_classes, P_u.dtype)
        return propagate(P_u[:, :visible], P_u[:, visible:], Y_l, iterations)


def propagate(P_ul: Tensor, P_uu: Tensor, Y_l: Tensor, iterations: int | None) -> Tensor:
    """F_u, (M, C), from P_ul (M, L), P_uu (M, M), Y_l (L, C). Call under full_precision."""
    check_iterations(iterations)
    first_step = P_ul @ Y_l  # (M, L) → (M, C)
    if iterations is None:
        F_u = _solve(P_uu, first_step)
    else:
        F_u = first_step
        for _ in range(iterations - 1):
            F_u = torch.addmm(first_step, P_uu, F_u)
    mass = F_u.sum(dim=1, keepdim=True)
    unreached = mass <= 0  # False for NaN, which must come through
    # the inner where keeps the gradient finite in rows that no label reaches
    return torch.where(unreached, 1.0 / Y_l.shape[1], F_u / torch.where(unreached, 1.0, mass))


def visible_first(masked: Tensor) -> tuple[Tensor, int]:
    """Indices of the visible documents, then of the masked ones, (B,), and the number of visible ones.

    Waits for the device if ``masked`` lives on one; not if it lives on the CPU.
    """
    order = torch.argsort(masked.to(torch.uint8), stable=True)
    return order, masked.shape[0] - int(masked.sum())


def one_hot(labels: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """Y, (N, C), without the wait for the device that torch's one_hot has on some."""
    Y = torch.zeros(labels.shape[0], num_classes, dtype=dtype, device=labels.device)
    return Y.scatter_(1, labels[:, None], 1.0)


def check_shapes(labels: Tensor, masked: Tensor, *, batch: int) -> None:
    """Refuse labels and masks that do not fit the batch."""
    for name, values, dtype in (("labels", labels, torch.int64), ("masked", masked, torch.bool)):
        if values.shape != (batch,) or values.dtype != dtype:
            raise ValueError(
                f"{name} must be {dtype} of shape ({batch},), one for each document, got {values.dtype} "
                f"of shape {tuple(values.shape)}; convert it"
            )


def check_range(labels: Tensor, num_classes: int) -> None:
    """Refuse labels outside [0, num_classes), if on the CPU: a device would have to be waited for."""
    if labels.device.type == "cpu" and labels.numel() > 0:
        low, high = (int(bound) for bound in torch.aminmax(labels))
        if low < 0 or high >= num_classes:
            raise ValueError(
                f"labels must be in [0, num_classes), got {low} to {high} with num_classes={num_classes}; "
                "number the classes from 0"
            )


def check_class_weights(class_weights: Tensor | None, num_classes: int) -> None:
    """Refuse weights that are not one for each class."""
    if class_weights is not None and class_weights.shape != (num_classes,):
        raise ValueError(
            f"class_weights: must be of shape ({num_classes},), one for each class, got "
            f"{tuple(class_weights.shape)}; pass one number above 0 for each class"
        )


def check_num_classes(num_classes: int) -> None:
    """Refuse what is no classification."""
    if num_classes < 2:
        raise ValueError(
            f"num_classes: must be at least 2, got {num_classes!r}; count the data set's classes"
        )


def check_iterations(iterations: int | None) -> None:
    """Refuse a number of steps in which no label moves."""
    if iterations is not None and (iterations != int(iterations) or iterations < 1):
        raise ValueError(
            f"iterations: must be a whole number of at least 1, or None, got {iterations!r}; "
            "use None for the closed form"
        )


def _solve(P_uu: Tensor, first_step: Tensor) -> Tensor:
    """((1 + ε) I - P_uu)⁻¹ first_step: at each step a walk ends with probability ε, of the order of rounding.

    Without ε the system is singular to the last bit where masked documents are far closer to each other than
    to any visible one (duplicates at a small τ); with it they share the labels of the nearest visible ones.
    """
    M = P_uu.shape[0]
    stop = max(M, 1) * torch.finfo(P_uu.dtype).eps
    system = torch.eye(M, dtype=P_uu.dtype, device=P_uu.device) * (1.0 + stop) - P_uu
    # solve_ex, because solve waits for the device to check what ε already guarantees
    F_u: Tensor = torch.linalg.solve_ex(system, first_step).result
    return F_u
