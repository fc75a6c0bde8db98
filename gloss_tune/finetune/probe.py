"""A linear classifier on frozen embeddings: how standalone fine-tuning is judged."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STRENGTH = 10.0
_MAX_ITERATIONS = 100


def fit_probe(
    head: nn.Linear, features: Tensor, labels: Tensor, class_weights: Tensor | None = None
) -> float:
    """Fit multinomial logistic regression with an L2 penalty into ``head``, from zero.

    Minimises mean cross-entropy + ‖weight‖² / (2 · 10 · N), scikit-learn's ``LogisticRegression(C=10)``, by
    L-BFGS: no draw of random numbers, so equal embeddings give an equal probe.

    Args:
        head: (D → C), on the device of ``features``; its weights are replaced.
        features: float32 (N, D).
        labels: int64 (N,).
        class_weights: (C,), what a document of each class counts for in the mean; ``None`` for 1 each.

    Returns:
        The mean cross-entropy on these documents.
    """
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    # an inference tensor cannot enter autograd
    features = features.clone()
    penalty = 1.0 / (2.0 * _STRENGTH * len(features))
    optimizer = torch.optim.LBFGS(
        head.parameters(), max_iter=_MAX_ITERATIONS, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(head(features), labels, class_weights) + penalty * head.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    optimizer.zero_grad()
    with torch.no_grad():
        return float(F.cross_entropy(head(features), labels, class_weights))
