"""How well encoder and head do on a split."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from gloss_tune.data import TokenizedSplit
from gloss_tune.encoder import Encoder
from gloss_tune.finetune.chunking import ChunkLimit
from gloss_tune.finetune.embedding import embed_split, head_input
from gloss_tune.metrics import classification_metrics, macro_silhouette


@torch.no_grad()
def evaluate(
    encoder: Encoder,
    head: nn.Linear,
    tokens: TokenizedSplit,
    *,
    context: torch.autocast,
    on_step: Callable[[], None],
    limit: ChunkLimit | None = None,
) -> dict[str, float]:
    """Metrics of a split without dropout.

    Args:
        encoder: left in the mode (training or evaluation) that it came in.
        head: (D → C).
        tokens: the split.
        context: the precision of the encoder's pass.
        on_step: called once a batch; may raise.
        limit: of the encoder's chunks; lowered where memory does not suffice.

    Returns:
        ``accuracy``, ``macro_f1``, ``silhouette`` and ``loss``, the mean cross-entropy of the head; all NaN
        where the embeddings are not finite.
    """
    embeddings = embed_split(encoder, tokens, context, on_step, limit)
    logits = head(head_input(embeddings))  # (N, D) → (N, C)
    labels = torch.from_numpy(tokens.labels.copy())
    loss = float(F.cross_entropy(logits, labels.to(logits.device)))
    if not math.isfinite(loss):
        return dict.fromkeys(("accuracy", "macro_f1", "silhouette", "loss"), math.nan)
    scores = classification_metrics(tokens.labels, logits.argmax(dim=1).cpu().numpy(), head.out_features)
    silhouette = macro_silhouette(embeddings.cpu().numpy(), tokens.labels)
    return {**scores, "silhouette": silhouette, "loss": loss}
