"""A batch's gradient in the memory that there is: which step, and in how large chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gloss_tune.data import TokenizedSplit
from gloss_tune.encoder import Encoder
from gloss_tune.finetune.chunking import ChunkLimit
from gloss_tune.finetune.embedding import embed_chunk
from gloss_tune.finetune.memory import OutOfMemory, attempt, device_memory_error, free_bytes, free_memory
from gloss_tune.finetune.step import add_gradient
from gloss_tune.finetune.threads import Runner, runner_for
from gloss_tune.logging import logger

# Tokens of a batch, counted as its chunks' are, up to which all its activations are held at once: 128 documents of
# 256 tokens on a CPU, of 512 elsewhere, unless free memory tells. MiniLM takes about 0.2 MB a token, so larger batches
# cost time instead of memory.
_PLAIN_TOKENS = {"cpu": 32768}
_PLAIN_TOKENS_ELSEWHERE = 65536
# Numbers that a layer keeps for its gradient, for each token and unit of its width: measured on an H100 in bfloat16,
# 0.10 MB a token of MiniLM and 0.40 of BERT-base.
_KEPT_NUMBERS = 23
# of what is free when a run begins, since others come, and the loss wants memory too
_SHARE = 0.5


class BatchGradients:
    """Computes the gradients of one run's batches; the batch that the loss sees is never cut.

    The graphs of a batch of few tokens are all held at once. Once memory ran out, one chunk's is at a time, in chunks
    halved each time that memory still does not suffice.

    Args:
        encoder: in training mode when called.
        tokens: the documents to learn from.
        trained: all weights that get a gradient; they have none before and after a failed try.
        context: the precision of the encoder's pass.
        limit: of the chunks; lowered here where memory does not suffice.
        setting: what decides how much memory is needed, for messages.
    """

    def __init__(
        self,
        encoder: Encoder,
        tokens: TokenizedSplit,
        trained: Sequence[nn.Parameter],
        *,
        context: torch.autocast,
        limit: ChunkLimit,
        setting: str,
    ) -> None:
        self._encoder = encoder
        self._tokens = tokens
        self._trained = trained
        self._context = context
        self._limit = limit
        self._setting = setting
        self._device = encoder.device
        self._most_held = _most_held(encoder, context)

    def add(
        self,
        documents: NDArray[np.int64],
        loss: Callable[[Tensor, Tensor, torch.Generator], dict[str, Tensor]],
        masks: torch.Generator,
    ) -> dict[str, Tensor]:
        """Add a batch's gradient to the weights'.

        A step that is tried again draws the same masks, and the same dropout where its chunks are the same.

        Args:
            documents: int64 (B,), indices, longest document first.
            loss: (embeddings (B, D), labels (B,), masks) → scalars by name.
            masks: generator of the masks.

        Returns:
            What ``loss`` gave, without gradients.

        Raises:
            DeviceMemoryError: memory does not suffice for one document, or for the loss itself.
        """
        lengths = self._tokens.offsets[documents + 1] - self._tokens.offsets[documents]
        # the loss wants labels on the CPU, where it draws the mask without a wait for the device
        labels = torch.from_numpy(self._tokens.labels[documents])
        dropout_state, masks_state = torch.get_rng_state(), masks.get_state()
        shortage = None
        while isinstance(
            outcome := attempt(
                self._step, documents, lengths, lambda embeddings: loss(embeddings, labels, masks)
            ),
            OutOfMemory,
        ):
            shortage = outcome
            for parameter in self._trained:
                parameter.grad = None
            free_memory(self._device)
            torch.set_rng_state(dropout_state)
            masks.set_state(masks_state)
            self._use_less(lengths, shortage)
        if shortage is not None:
            logger.warning(
                "Out of memory in a step with %s (%s); from now on at most %d tokens go through the encoder at "
                "once, twice each. The loss still sees the whole batch.",
                self._setting,
                shortage.reason,
                self._limit.tokens,
            )
        return outcome

    def _step(
        self,
        documents: NDArray[np.int64],
        lengths: NDArray[np.int64],
        loss: Callable[[Tensor], dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        return add_gradient(
            self._encoder,
            partial(embed_chunk, self._encoder, self._tokens),
            [documents[chunk] for chunk in self._limit.cut(lengths)],
            loss,
            trained=self._trained,
            context=self._context,
            runner=self._runner(),
            hold=self._holds(lengths),
            setting=self._setting,
        )

    def _runner(self) -> Runner:
        return runner_for(self._encoder, self._limit)

    def _holds(self, lengths: NDArray[np.int64]) -> bool:
        if self._limit.lowered is not None:
            return False
        return sum(self._limit.counts(lengths)) <= self._most_held

    def _use_less(self, lengths: NDArray[np.int64], shortage: OutOfMemory) -> None:
        together = self._holds(lengths) or self._runner().count > 1
        if not self._limit.lower(lengths, together=together):
            raise device_memory_error(
                self._device,
                "A step",
                f"{self._setting}, one document of at most {int(lengths[0])} tokens at a time,",
                shortage.reason,
            )


def _most_held(encoder: Encoder, context: torch.autocast) -> int:
    """Tokens whose activations are held at once."""
    config: Any = getattr(getattr(encoder.model[0], "auto_model", None), "config", None)
    layers, width = (getattr(config, name, None) for name in ("num_hidden_layers", "hidden_size"))
    plain = _PLAIN_TOKENS.get(encoder.device.type, _PLAIN_TOKENS_ELSEWHERE)
    if encoder.device.type == "cpu" or not layers or not width:
        return plain
    free = free_bytes(encoder.device)
    if free is None:
        return plain
    number_bytes = 2 if context._enabled else 4
    return int(_SHARE * free / (_KEPT_NUMBERS * layers * width * number_bytes))
