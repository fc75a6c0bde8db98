"""Batches of documents through the encoder, with little padding, and onward to the head."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gloss_tune.data import TokenizedSplit, collate
from gloss_tune.encoder import Encoder

# Padded tokens that go through the encoder at once. On a CPU small rectangles waste least padding and stay in
# its caches; a GPU needs many tokens to be busy.
_CHUNK_TOKENS = {"cpu": 1024, "cuda": 32768}


def head_input(embeddings: Tensor) -> Tensor:
    """What the linear head sees of pooled embeddings (N, D); the same in training, validation and test."""
    return F.normalize(embeddings, dim=1)


def embed_documents(encoder: Encoder, tokens: TokenizedSplit, documents: NDArray[np.int64]) -> Tensor:
    """Pooled embeddings of some documents, in chunks of similar length.

    Each document goes through the encoder once; how they are cut into chunks changes none of the embeddings
    but in rounding.

    Args:
        encoder: in training or evaluation mode, as the caller needs it.
        tokens: the split.
        documents: int64 (B,), indices, longest document first.

    Returns:
        float32 (B, D), not normalised, on the encoder's device.
    """
    lengths = tokens.offsets[documents + 1] - tokens.offsets[documents]
    pooled = [
        encoder.embed(*_inputs(encoder, tokens, documents[chunk]))
        for chunk in chunks(lengths, _CHUNK_TOKENS.get(encoder.device.type, 4096))
    ]
    return torch.cat(pooled)


@torch.inference_mode()
def embed_split(
    encoder: Encoder, tokens: TokenizedSplit, context: torch.autocast, on_step: Callable[[], None]
) -> Tensor:
    """Pooled embeddings (N, D) of a whole split without dropout, in its order, on the encoder's device."""
    longest_first = np.argsort(-tokens.lengths, kind="stable")
    training = encoder.model.training
    encoder.model.eval()
    try:
        parts = []
        with context:
            for documents in np.array_split(
                longest_first, range(_EVALUATION_BATCH, len(tokens), _EVALUATION_BATCH)
            ):
                parts.append(embed_documents(encoder, tokens, documents))
                on_step()
    finally:
        encoder.model.train(training)
    pooled = torch.cat(parts)
    embeddings = torch.empty_like(pooled)
    embeddings[torch.from_numpy(longest_first).to(pooled.device)] = pooled
    return embeddings


_EVALUATION_BATCH = 256


def chunks(lengths: NDArray[np.int64], max_tokens: int) -> Iterator[slice]:
    """Cut documents, longest first, into runs of at most ``max_tokens`` when padded to their longest.

    Args:
        lengths: int64 (B,), tokens of each document, falling.
        max_tokens: at least 1; a document longer than that is a run of its own.
    """
    start = 0
    while start < len(lengths):
        size = max(1, max_tokens // int(lengths[start]))
        yield slice(start, start + size)
        start += size


def _inputs(encoder: Encoder, tokens: TokenizedSplit, documents: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    input_ids, attention_mask = map(torch.from_numpy, collate(tokens, documents, encoder.pad_id))
    device = encoder.device
    if device.type == "cuda":
        # from pinned memory the copy runs beside the computation instead of waiting for it
        input_ids, attention_mask = input_ids.pin_memory(), attention_mask.pin_memory()
    return input_ids.to(device, non_blocking=True), attention_mask.to(device, non_blocking=True)
