"""What a study's first trials are queued with: a grid's points, the user's own, or the authors' heuristics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gloss_tune.spec.ranges import is_number
from gloss_tune.spec.space import grid_points
from gloss_tune.spec.spec import StudySpec
from gloss_tune.spec.train import TRAIN_DEFAULTS
from gloss_tune.study.encoder import study_encoder

if TYPE_CHECKING:
    from gloss_tune.data import TextDataset

#: The one tuned point that the authors publish (Ohsumed): λ = 0.8, visible fraction γ = 0.7, σ = 0.667.
PUBLISHED = {"gloss_weight": 0.8, "mask_ratio": 0.3, "temperature": 0.667**2}
#: What one takes who tunes nothing: the learning rate that BERT's authors and sentence-transformers' examples
#: recommend, the authors' published point for the graph; of all else, the default.
CUSTOMARY = {**PUBLISHED, "learning_rate": 2e-5}
_SAMPLE_DOCS = 512


def first_params(spec: StudySpec, dataset: TextDataset | None) -> list[dict[str, Any]]:
    """One table of parameters per queued trial, each within the study's space; may be shorter than the budget.

    Args:
        spec: names them under ``first_trials``, or asks for a grid.
        dataset: needed for ``sqrt_distance``; without it (a rehearsal) that heuristic is left out.
    """
    if spec.sampler == "grid":
        return grid_points(spec.ranges, spec.seed)[: spec.trials]
    queued = []
    for first in spec.first_trials:
        if first == "customary":
            queued.append(customary(spec))
        elif first == "published":
            queued.append(_clipped(spec, PUBLISHED))
        elif first == "sqrt_distance":
            if dataset is not None and not spec.rehearse:
                queued.append(_clipped(spec, {"temperature": sqrt_distance_temperature(spec, dataset)}))
        else:
            queued.append(dict(first))
    return queued[: spec.trials]


def customary(spec: StudySpec) -> dict[str, Any]:
    """The setting of one who tunes nothing, as far as it is searched: of each range the nearest value."""
    defaults = {name: value for name, value in TRAIN_DEFAULTS.items() if is_number(value)}
    return _clipped(spec, {**defaults, **CUSTOMARY})


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


def _clipped(spec: StudySpec, params: dict[str, float]) -> dict[str, Any]:
    """Only what is searched, moved to the nearest value of its range."""
    nearest = {name: spec.space[name].nearest(value) for name, value in params.items() if name in spec.space}
    return {name: value for name, value in nearest.items() if value is not None}
