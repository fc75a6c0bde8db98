"""Batches of documents through the encoder, with little padding, and onward to the head."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gloss_tune.data import TokenizedSplit, concatenate
from gloss_tune.encoder import Encoder
from gloss_tune.encoder.layout import from_numpy
from gloss_tune.finetune.chunking import ChunkLimit
from gloss_tune.finetune.memory import OutOfMemory, attempt, device_memory_error, free_memory
from gloss_tune.finetune.threads import runner_for
from gloss_tune.logging import logger


def head_input(embeddings: Tensor) -> Tensor:
    """What the linear head sees of pooled embeddings (N, D); the same in training, validation and test."""
    return F.normalize(embeddings, dim=1)


def embed_documents(
    encoder: Encoder, tokens: TokenizedSplit, documents: NDArray[np.int64], limit: ChunkLimit | None = None
) -> Tensor:
    """Pooled embeddings of some documents, in chunks of similar length.

    Each document goes through the encoder once; how they are cut into chunks changes none of the embeddings
    but in rounding.

    Args:
        encoder: in training or evaluation mode, as the caller needs it.
        tokens: the split.
        documents: int64 (B,), indices, longest document first.
        limit: of the chunks; None for what suits the device.

    Returns:
        float32 (B, D), not normalised, on the encoder's device.
    """
    lengths = tokens.offsets[documents + 1] - tokens.offsets[documents]
    limit = limit or ChunkLimit(encoder)
    runner = runner_for(encoder, limit)
    return torch.cat(
        runner.run([partial(embed_chunk, encoder, tokens, documents[chunk]) for chunk in limit.cut(lengths)])
    )


def embed_chunk(encoder: Encoder, tokens: TokenizedSplit, documents: NDArray[np.int64]) -> Tensor:
    """Pooled embeddings (b, D) of some documents at once, longest first."""
    input_ids, lengths = concatenate(tokens, documents)
    return encoder.embed(from_numpy(input_ids, encoder.device), lengths)


@torch.inference_mode()
def embed_split(
    encoder: Encoder,
    tokens: TokenizedSplit,
    context: torch.autocast,
    on_step: Callable[[], None],
    limit: ChunkLimit | None = None,
) -> Tensor:
    """Pooled embeddings (N, D) of a whole split without dropout, in its order, on the encoder's device.

    Args:
        encoder: left in the mode (training or evaluation) that it came in.
        tokens: the split.
        context: the precision.
        on_step: called once a batch; may raise.
        limit: lowered where memory does not suffice.

    Raises:
        DeviceMemoryError: memory does not suffice for one document.
    """
    limit = limit or ChunkLimit(encoder)
    longest_first = np.argsort(-tokens.lengths, kind="stable")
    training = encoder.model.training
    encoder.model.eval()
    try:
        parts = []
        with context:
            for documents in np.array_split(
                longest_first, range(_EVALUATION_BATCH, len(tokens), _EVALUATION_BATCH)
            ):
                parts.append(_embed_within_memory(encoder, tokens, documents, limit))
                on_step()
    finally:
        encoder.model.train(training)
    pooled = torch.cat(parts)
    embeddings = torch.empty_like(pooled)
    embeddings[torch.from_numpy(longest_first).to(pooled.device)] = pooled
    return embeddings


_EVALUATION_BATCH = 256


def _embed_within_memory(
    encoder: Encoder, tokens: TokenizedSplit, documents: NDArray[np.int64], limit: ChunkLimit
) -> Tensor:
    """As :func:`embed_documents`, in smaller chunks where memory does not suffice."""
    shortage = None
    while isinstance(outcome := attempt(embed_documents, encoder, tokens, documents, limit), OutOfMemory):
        shortage = outcome
        free_memory(encoder.device)
        together = runner_for(encoder, limit).count > 1
        if not limit.lower(tokens.lengths[documents], together=together):
            longest = int(tokens.lengths[documents[0]])
            raise device_memory_error(
                encoder.device,
                "An evaluation",
                f"one document of {longest} tokens at a time",
                shortage.reason,
                "lower max_length or choose a smaller encoder",
            )
    if shortage is not None:
        logger.warning(
            "Out of memory in an evaluation (%s); from now on it embeds at most %d tokens at a time.",
            shortage.reason,
            limit.tokens,
        )
    return outcome
