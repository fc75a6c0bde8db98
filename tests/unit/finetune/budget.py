"""A device whose memory holds a given number of tokens: for running out of it on purpose, at a known place."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from gloss_tune.encoder import Encoder

MESSAGE = "CUDA out of memory. Tried to allocate 2.00 GiB."


class Budget:
    """Counts the tokens whose activations are held; more than ``limit`` raise torch's own error."""

    def __init__(self, limit: float, error: Callable[[], Exception]) -> None:
        self.limit = limit
        self.held = 0
        self.most = 0
        self.refusals = 0
        self.backwards = 0
        self.fails_in_backward: int | None = None
        self._error = error

    def backward(self) -> None:
        self.backwards += 1
        if self.backwards == self.fails_in_backward:
            self.refusals += 1
            raise self._error()

    def take(self, tokens: int) -> None:
        if self.held + tokens > self.limit:
            self.refusals += 1
            raise self._error()
        self.held += tokens
        self.most = max(self.most, self.held)


class _Held:
    """Tokens in memory, until the backward pass is over or nobody holds the graph any more."""

    def __init__(self, budget: Budget, tokens: int) -> None:
        budget.take(tokens)
        self.budget, self._tokens = budget, tokens

    def release(self) -> None:
        self.budget.held -= self._tokens
        self._tokens = 0

    def __del__(self) -> None:
        if hasattr(self, "_tokens"):
            self.release()


class _Activations(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, held: _Held) -> Tensor:
        ctx.held = held
        return embeddings.view_as(embeddings)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.held.budget.backward()
        ctx.held.release()
        return gradient, None


@contextmanager
def memory_for(
    tokens: float, error: Callable[[], Exception] = lambda: torch.cuda.OutOfMemoryError(MESSAGE)
) -> Iterator[Budget]:
    """Encoders have memory for the activations of this many tokens."""
    budget = Budget(tokens, error)
    whole = Encoder.embed

    def embed(self: Encoder, input_ids: Tensor, lengths: NDArray[np.int64]) -> Tensor:
        held = _Held(budget, int(lengths.sum()))
        return _Activations.apply(whole(self, input_ids, lengths), held)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Encoder, "embed", embed)
        yield budget


def live_tensors() -> int:
    """Numbers in the tensors that Python holds, without asking the garbage collector to tidy up first."""
    return sum(item.numel() for item in gc.get_objects() if issubclass(type(item), Tensor))
