"""First trials placed before any training: where labels propagate best on the frozen encoder's embeddings."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gloss_tune.finetune.config import FinetuneConfig
from gloss_tune.logging import logger
from gloss_tune.spec.space import Value
from gloss_tune.spec.spec import StudySpec

if TYPE_CHECKING:
    import numpy as np
    from frozen import FrozenScore
    from numpy.typing import NDArray
    from torch import Tensor

    from gloss_tune.data import TextDataset

#: Another sample of this size moved the best temperature of MR, Ohsumed and R8 by at most one step of the grid
#: (at mask ratios 0.1 and 0.5; at 0.9 next to nothing propagates on MR, and all temperatures are much alike).
_SAMPLE_DOCS = 512
#: How many values of each hyperparameter are tried, at most.
_POINTS = {"mask_ratio": 5, "temperature": 13, "lpa_iterations": 3}
#: Passes over the sample, each in other batches under other masks: with one, noise would decide between neighbours.
_EPOCHS = 2


@dataclass(frozen=True)
class FrozenSample:
    """Some training documents as the encoder embeds them before it is trained.

    Args:
        embeddings: float32 (N, D), not normalised, on the CPU.
        labels: int64 (N,).
        lengths: int64 (N,), tokens of each document.
    """

    embeddings: Tensor
    labels: NDArray[np.int64]
    lengths: NDArray[np.int64]


def embed_sample(spec: StudySpec, dataset: TextDataset) -> FrozenSample:
    """Embed a seeded, stratified sample of at most 512 training documents in float32 on the CPU."""
    from gloss_tune.data import cache_dir, subsample, tokenize_split
    from gloss_tune.encoder import Encoder, resolve_encoder
    from gloss_tune.finetune.embedding import embed_split
    from gloss_tune.finetune.precision import autocast

    documents = subsample(dataset, _SAMPLE_DOCS, spec.seed).train
    logger.info("First trials: %d documents are embedded by the encoder as it is.", len(documents))
    encoder = Encoder.load(resolve_encoder(spec.model), device="cpu", max_length=spec.longest_documents)
    tokens = tokenize_split(
        documents,
        encoder.tokenizer,
        dataset_fingerprint=dataset.fingerprint,
        split_name="sample",
        max_length=spec.longest_documents,
        cache_dir=cache_dir(),
    )
    embeddings = embed_split(encoder, tokens, autocast("float32", encoder.device), lambda: None)
    return FrozenSample(embeddings, tokens.labels, tokens.lengths)


def frozen_first_params(spec: StudySpec, sample: FrozenSample, count: int) -> list[dict[str, Any]]:
    """At most ``count`` pairs of temperature and mask ratio; whatever else is searched is left to the sampler.

    A pair is scored by its mean G-Loss on the frozen embeddings, in batches and under masks as training deals them,
    over few to many propagation steps: at a good temperature their number hardly matters. The losses of two mask
    ratios do not compare, since labels propagate the better the more of them are visible. So each trial takes another
    mask ratio, from the middle of the range outwards, and the best of the temperatures that no earlier one took.

    A batch size, normalization or propagation that is itself searched counts as its default.
    """
    import torch
    from frozen import score_settings

    from gloss_tune.data import epoch_batches

    started = time.perf_counter()
    batch_size = int(_assumed(spec, "batch_size"))
    batches = [
        batch
        for epoch in range(_EPOCHS)
        for batch in epoch_batches(sample.labels, sample.lengths, batch_size, seed=spec.seed, epoch=epoch)
    ]
    closed_form = _assumed(spec, "propagation") == "closed_form"
    scores = score_settings(
        sample.embeddings,
        torch.from_numpy(sample.labels.copy()),
        batches,
        mask_ratios=[float(ratio) for ratio in _tried(spec, "mask_ratio")],
        temperatures=[float(temperature) for temperature in _tried(spec, "temperature")],
        iterations=[None] if closed_form else [int(steps) for steps in _tried(spec, "lpa_iterations")],
        normalization=str(_assumed(spec, "normalization")),
        seed=spec.seed,
    )
    logger.info(
        "First trials: labels propagated over these %d documents under %d settings in %.1f s; the best:",
        len(sample.labels),
        len(scores),
        time.perf_counter() - started,
    )
    queued = []
    for score in choose_diverse(scores, count):
        logger.info(
            "  temperature=%.4g, mask_ratio=%.4g: G-Loss %.3f, %.1f %% of the hidden labels right",
            score.temperature,
            score.mask_ratio,
            score.loss,
            100 * score.accuracy,
        )
        setting = {"mask_ratio": score.mask_ratio, "temperature": score.temperature}
        queued.append({name: value for name, value in setting.items() if name in spec.space})
    return queued


def choose_diverse(scores: Iterable[FrozenScore], count: int) -> list[FrozenScore]:
    """The best score of one mask ratio after the other, each with a temperature of its own while there are any.

    Args:
        scores: of every pair of settings.
        count: how many to choose; fewer come back where there are no more.
    """
    left = sorted(scores, key=lambda score: score.loss)
    ratios = sorted({score.mask_ratio for score in left})
    outwards = sorted(ratios, key=lambda ratio: abs(ratio - (ratios[0] + ratios[-1]) / 2))
    chosen: list[FrozenScore] = []
    while left and len(chosen) < count:
        ratio = outwards[len(chosen) % len(outwards)]
        taken = {score.temperature for score in chosen}
        best = min(left, key=lambda score: (score.temperature in taken, score.mask_ratio != ratio))
        chosen.append(best)
        left.remove(best)
    return chosen


def _tried(spec: StudySpec, name: str) -> list[Value]:
    """The values of a hyperparameter that are scored: spread over its range, or the one that it is fixed to."""
    searched = next((r for r in spec.ranges if r.name == name), None)
    if searched is None:
        return [_assumed(spec, name)]
    most = _POINTS[name]
    values = dataclasses.replace(searched, step=None, points=most).grid()
    if searched.choices is not None and len(values) > most:
        return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]
    if searched.step is None or searched.low is None:
        return values
    low, step = searched.low, searched.step
    return sorted({low + round((float(value) - low) / step) * step for value in values})


def _assumed(spec: StudySpec, name: str) -> Value:
    """What a hyperparameter is fixed to, or else its default."""
    value: Value = spec.train.get(name, getattr(FinetuneConfig, name))
    return value
