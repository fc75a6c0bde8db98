"""The gradient of one batch: in one go, or chunk by chunk in the memory of one chunk.

The loss sees the embeddings of the whole batch; its gradient on them is then carried into the encoder chunk by chunk.
Where memory does not hold the graphs of all chunks until then, this is the gradient cache of Gao et al. 2021 (arXiv
2101.06983): the embeddings are made without a graph, and each chunk goes through the encoder a second time. Both ways
give the same gradient; the second takes about a third longer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gloss_tune.encoder import Encoder
from gloss_tune.encoder.seeded import SeededPass
from gloss_tune.finetune.memory import device_memory_guard
from gloss_tune.finetune.threads import Runner

#: documents (b,), longest first → embeddings (b, D)
Embed: TypeAlias = Callable[[NDArray[np.int64]], Tensor]
#: embeddings (B, D) → scalars by name; ``loss`` is what is minimised
Loss: TypeAlias = Callable[[Tensor], dict[str, Tensor]]


def add_gradient(
    encoder: Encoder,
    embed: Embed,
    chunks: Sequence[NDArray[np.int64]],
    loss: Loss,
    *,
    trained: Sequence[nn.Parameter],
    context: torch.autocast,
    runner: Runner,
    hold: bool,
    setting: str,
) -> dict[str, Tensor]:
    """Add the gradient of a batch to the weights'.

    Each chunk draws dropout from a seed of its own, in each of its passes the same, and gradients are added up in the
    order of the chunks: which thread is faster changes nothing.

    Args:
        encoder: in training mode.
        embed: one chunk by this encoder.
        chunks: the batch's documents, cut.
        loss: of the whole batch's embeddings.
        trained: all weights that get a gradient.
        context: the precision of the encoder's pass.
        runner: of the chunks; with several threads, if the encoder is ``concurrent``.
        hold: the graphs of all chunks at once; else those that ``runner`` computes at a time.
        setting: what decides how much memory the loss needs, for an error.

    Returns:
        What ``loss`` gave, without gradients.

    Raises:
        DeviceMemoryError: without ``hold``, memory does not suffice for the loss itself, which smaller chunks would
            not fix.
    """
    passes = [encoder.seeded_pass(seed) for seed in torch.randint(2**62, (len(chunks),)).tolist()]

    def forward(number: int, keep_graph: bool) -> Tensor:
        with passes[number].entered():
            embeddings = embed(chunks[number])
        return embeddings if keep_graph else embeddings.detach()

    # A GPU's attention kernel is chosen by whether gradients are wanted, and each draws dropout in its own way:
    # there a pass is recorded even if nobody asks for its gradient.
    with context, torch.set_grad_enabled(hold or encoder.device.type != "cpu"):
        pooled = runner.run([partial(forward, number, hold) for number in range(len(chunks))])
    embeddings = torch.cat([part.detach() for part in pooled]).requires_grad_()  # (B, D)
    with nullcontext() if hold else device_memory_guard(encoder.device, setting, "The loss of a batch"):
        parts = loss(embeddings)
        parts["loss"].backward()  # type: ignore[no-untyped-call]
    assert embeddings.grad is not None
    gradients = torch.split(embeddings.grad, [len(chunk) for chunk in chunks])

    def again(number: int) -> Tensor:
        return pooled[number] if hold else forward(number, True)

    if runner.count == 1:
        for number, gradient in enumerate(gradients):
            # a context of its own: autocast keeps the weights that the first pass cast without a gradient
            with context:
                recorded = again(number)
            recorded.backward(gradient)  # type: ignore[no-untyped-call]
    else:
        with context:
            _add_side_by_side(again, gradients, passes, trained, runner)
    return {name: part.detach() for name, part in parts.items()}


def _add_side_by_side(
    embeddings: Callable[[int], Tensor],
    gradients: Sequence[Tensor],
    passes: Sequence[SeededPass],
    trained: Sequence[nn.Parameter],
    runner: Runner,
) -> None:
    """Each thread sums its chunks' gradients by itself: ``backward`` would add them in the order of their arrival."""

    def summed(numbers: range) -> list[Tensor | None]:
        total: list[Tensor | None] = [None] * len(trained)
        for number in numbers:
            pooled = embeddings(number)
            # the way back computes in the types of the way there, not in what autocast would choose
            with passes[number].entered(), torch.autocast("cpu", enabled=False):
                _add(total, torch.autograd.grad(pooled, trained, gradients[number], allow_unused=True))
        return total

    total, *others = runner.run(
        [partial(summed, range(first, len(gradients), runner.count)) for first in range(runner.count)]
    )
    for other in others:
        _add(total, other)
    for parameter, gradient in zip(trained, total, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)


def _add(total: list[Tensor | None], more: Sequence[Tensor | None]) -> None:
    """Add gradients to a sum, weight by weight; None is 0."""
    for place, gradient in enumerate(more):
        summed = total[place]
        if summed is None:
            total[place] = gradient
        elif gradient is not None:
            summed.add_(gradient)
