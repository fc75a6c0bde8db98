"""What a study's first trials are queued with: a grid's points, the user's own, or the authors' heuristics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gloss_tune.spec.space import grid_points
from gloss_tune.spec.spec import StudySpec
from gloss_tune.study.customary import PUBLISHED, clipped, customary
from gloss_tune.study.encoder import study_encoder

if TYPE_CHECKING:
    from gloss_tune.data import TextDataset
    from gloss_tune.encoder.size import Size

_SAMPLE_DOCS = 512


def first_params(
    spec: StudySpec, dataset: TextDataset | None, size: Size | None = None
) -> list[dict[str, Any]]:
    """One table of parameters per queued trial, each within the study's space; may be shorter than the budget.

    Args:
        spec: names them under ``first_trials``, or asks for a grid.
        dataset: needed for ``sqrt_distance``; without it (a rehearsal) that heuristic is left out.
        size: of the encoder, for ``customary``.
    """
    if spec.sampler == "grid":
        return grid_points(spec.ranges, spec.seed)[: spec.trials]
    queued = []
    for first in spec.first_trials:
        if first == "customary":
            queued.append(customary(spec, size))
        elif first == "published":
            queued.append(clipped(spec, PUBLISHED))
        elif first == "sqrt_distance":
            if dataset is not None and not spec.rehearse:
                queued.append(clipped(spec, {"temperature": sqrt_distance_temperature(spec, dataset)}))
        else:
            queued.append(dict(first))
    return queued[: spec.trials]


def sqrt_distance_temperature(spec: StudySpec, dataset: TextDataset) -> float:
    """τ = σ² = d/3, with d the median distance between un-tuned embeddings (G-Loss-SQRT: σ = √(d/3)).

    Source: G-Loss, arXiv 2604.25853, the heuristic variant of its section on σ. Measured on at most 512 documents.
    """
    import torch

    from gloss_tune.data import tokenize_texts
    from gloss_tune.encoder import Encoder
    from gloss_tune.finetune.embedding import embed_split, head_input
    from gloss_tune.finetune.precision import autocast

    texts = list(dataset.train.texts)
    step = max(1, len(texts) // _SAMPLE_DOCS)
    encoder = Encoder.load(study_encoder(spec), device="cpu", max_length=spec.longest_documents)
    tokens = tokenize_texts(texts[::step][:_SAMPLE_DOCS], encoder.preprocessor, spec.longest_documents)
    embeddings = embed_split(encoder, tokens, autocast("float32", encoder.device), lambda: None)
    distances = torch.pdist(head_input(embeddings))
    return float(distances.median()) / 3
