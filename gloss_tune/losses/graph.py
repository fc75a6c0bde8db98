"""The similarity graph of one batch, and the transition matrix of a random walk on it.

Everything is computed from log W, because at a small temperature W itself underflows: at τ = 0.01 a weight
may be exp(-200), which float32 rounds to 0.

    X   embeddings, (B, D), rows L2-normalised      W   similarities, (B, B), zero diagonal
    τ   temperature                                 P   transition probabilities, (B, B), rows sum to 1
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

# of CUDA cards: P100, V100, A100, H100 and B200
_FAST_FLOAT64 = ((6, 0), (7, 0), (8, 0), (9, 0), (10, 0))
# from here on the product of a batch counts beside the encoder
_LARGE_BATCH = 1024

NORMALIZATIONS = ("random_walk", "symmetric", "authors")


def similarity_graph(embeddings: Tensor, temperature: float) -> Tensor:
    """Similarities of all pairs of documents.

    W_ij = exp((cos_ij - 1) / τ) for i ≠ j, and W_ii = 0. With τ = σ² this is the Gaussian kernel
    exp(-‖x_i - x_j‖² / 2σ²) on L2-normalised embeddings (G-Loss, arXiv 2604.25853).

    Args:
        embeddings: (B, D), not necessarily normalised.
        temperature: τ > 0; about 0.01 (nearest neighbours only) to 2 (all pairs nearly alike).

    Returns:
        W, (B, B), symmetric, in [0, 1]; float64 for float64 embeddings, else float32, in which a weight below
        about 1e-45 is 0. :func:`gloss_loss` does not go through W and has no such limit.

    Raises:
        ValueError: if ``embeddings`` is not a matrix or ``temperature`` is not positive.
    """
    check_embeddings(embeddings)
    with full_precision(embeddings.device):
        return log_similarity(_at_least_float32(embeddings), temperature).exp()


def transition_matrix(W: Tensor, normalization: str = "random_walk") -> Tensor:
    """Transition probabilities of a random walk on the graph W.

    With D the diagonal matrix of the row sums of W, and S = D^-½ W D^-½:

    * ``random_walk``: P = D⁻¹ W (Zhu & Ghahramani 2002, "Learning from labeled and unlabeled data with label
      propagation").
    * ``symmetric``: S (Zhou et al. 2004, "Learning with local and global consistency"), then each row divided
      by its sum. S alone is not stochastic; with this last step F_u's rows sum to 1. Against the random walk
      it weighs each neighbour j by 1/√d_j, so that documents close to everything count for less.
    * ``authors``: S, then each column divided by its sum, then each row by its sum, as in the code that the
      paper's authors published.

    Args:
        W: (B, B), symmetric, non-negative, zero diagonal.
        normalization: one of :data:`NORMALIZATIONS`.

    Returns:
        P, (B, B); with every normalization each row sums to 1. A document without any neighbour (a row of
        zeros in W) stays where it is: its row is 1 on the diagonal.

    Raises:
        ValueError: if W is not square or the normalization is unknown.
    """
    if W.ndim != 2 or W.shape[0] != W.shape[1]:
        raise ValueError(f"W must be a square matrix, got shape {tuple(W.shape)}; see similarity_graph")
    with full_precision(W.device):
        W = _at_least_float32(W)
        absent = W <= 0
        # the inner where keeps log's gradient finite at the zeros
        log_W = torch.where(absent, 1.0, W).log().masked_fill(absent, -math.inf)
        alone = absent.all(dim=1)
        log_W = log_W.masked_fill(torch.diag(alone), 0.0)
        return log_transition(log_W, normalization).exp()


def log_similarity(embeddings: Tensor, temperature: float) -> Tensor:
    """Log W, (B, B), with -inf on the diagonal; see :func:`similarity_graph`. Call under full_precision."""
    check_temperature(temperature)
    cosine = _cosines(F.normalize(embeddings, dim=1))
    return ((cosine - 1.0) / temperature).fill_diagonal_(-math.inf)


def _cosines(X: Tensor) -> Tensor:
    """X Xᵀ, (B, D) → (B, B); of large batches in float32 where float64 is slow, which is off by 1e-7 at most."""
    large = X.dtype == torch.float64 and X.shape[0] >= _LARGE_BATCH
    if large and _has_slow_float64(X.device) and torch.get_float32_matmul_precision() == "highest":
        single = X.float()
        return (single @ single.T).double()
    return X @ X.T


def _has_slow_float64(device: torch.device) -> bool:
    """Cards for graphics compute float64 at a 32nd or 64th of the speed of float32, those for science at half of it."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) not in _FAST_FLOAT64


def log_transition(log_W: Tensor, normalization: str) -> Tensor:
    """Log P, (B, B), from log W; see :func:`transition_matrix`. No row may be -inf throughout."""
    check_normalization(normalization)
    log_S = log_W
    if normalization != "random_walk":
        half_degrees = 0.5 * torch.logsumexp(log_W, dim=1)
        log_S = log_W - half_degrees[:, None] - half_degrees[None, :]
    if normalization == "authors":
        log_S = F.log_softmax(log_S, dim=0)
    return F.log_softmax(log_S, dim=1)


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Switch autocast off: a bfloat16 cosine is off by 0.004, a factor of 1.5 in W at τ = 0.01."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def check_embeddings(embeddings: Tensor) -> None:
    """Refuse what is not one row a document."""
    if embeddings.ndim != 2 or not embeddings.is_floating_point():
        raise ValueError(
            f"embeddings must be a matrix (B, D) of floating-point numbers, got {embeddings.dtype} of shape "
            f"{tuple(embeddings.shape)}; pass one row a document"
        )


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that gives no graph."""
    if not 0.0 < temperature < math.inf:
        raise ValueError(
            f"temperature: must be a finite number above 0, got {temperature!r}; 0.01 to 2 is useful"
        )


def check_normalization(normalization: str) -> None:
    """Refuse an unknown normalization."""
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"normalization: must be one of {', '.join(NORMALIZATIONS)}, got {normalization!r}; choose one"
        )


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
