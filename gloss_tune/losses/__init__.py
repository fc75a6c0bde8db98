"""G-Loss, its parts, and the losses that it is compared with. Of heavy packages, imports torch alone."""

from __future__ import annotations

from gloss_tune.losses.baselines import (
    LOSSES,
    batch_all_triplet_loss,
    build_loss,
    cosine_similarity_loss,
    supervised_contrastive_loss,
)
from gloss_tune.losses.gloss import GLoss, gloss_loss
from gloss_tune.losses.graph import NORMALIZATIONS, similarity_graph, transition_matrix
from gloss_tune.losses.label_propagation import propagate_labels
from gloss_tune.losses.masking import random_mask

__all__ = [
    "LOSSES",
    "NORMALIZATIONS",
    "GLoss",
    "batch_all_triplet_loss",
    "build_loss",
    "cosine_similarity_loss",
    "gloss_loss",
    "propagate_labels",
    "random_mask",
    "similarity_graph",
    "supervised_contrastive_loss",
    "transition_matrix",
]
