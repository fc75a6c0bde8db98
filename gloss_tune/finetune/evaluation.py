"""How well encoder and head do on a split."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gloss_tune.data import TokenizedSplit
from gloss_tune.encoder import Encoder
from gloss_tune.finetune.chunking import ChunkLimit
from gloss_tune.finetune.embedding import embed_split, head_input
from gloss_tune.metrics import classification_metrics, macro_auc, macro_silhouette

#: What a split is measured by.
SCORES = ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy", "mcc", "auc", "silhouette", "loss")


@torch.no_grad()
def evaluate(
    encoder: Encoder,
    head: nn.Linear,
    tokens: TokenizedSplit,
    *,
    context: torch.autocast,
    on_step: Callable[[], None],
    limit: ChunkLimit | None = None,
) -> tuple[dict[str, float], Tensor]:
    """Metrics of a split of N documents without dropout.

    Args:
        encoder: left in the mode (training or evaluation) that it came in.
        head: (D → C).
        tokens: the split.
        context: the precision of the encoder's pass.
        on_step: called once a batch; may raise.
        limit: of the encoder's chunks; lowered where memory does not suffice.

    Returns:
        those of :data:`SCORES`, ``loss`` being the mean cross-entropy of the head, all NaN where the embeddings are
        not finite; and the predicted classes (N,), int64, on the CPU.
    """
    embeddings = embed_split(encoder, tokens, context, on_step, limit)
    logits = classify(head, embeddings)
    return score(embeddings, logits, tokens.labels), logits.argmax(dim=1).cpu()


def classify(head: nn.Linear, embeddings: Tensor) -> Tensor:
    """Logits (N, C) of pooled embeddings (N, D)."""
    logits: Tensor = head(head_input(embeddings))
    return logits


def score(embeddings: Tensor, logits: Tensor, labels: NDArray[np.int64]) -> dict[str, float]:
    """Metrics of embeddings (N, D) and logits (N, C) against the true classes (N,); as :func:`evaluate` gives them."""
    loss = float(F.cross_entropy(logits, torch.from_numpy(labels.copy()).to(logits.device)))
    if not math.isfinite(loss):
        return dict.fromkeys(SCORES, math.nan)
    predictions = logits.argmax(dim=1).cpu().numpy()
    return {
        **classification_metrics(labels, predictions, logits.shape[1]),
        "auc": macro_auc(labels, logits.cpu().double().softmax(dim=1).numpy()),
        "silhouette": macro_silhouette(embeddings.cpu().numpy(), labels),
        "loss": loss,
    }
