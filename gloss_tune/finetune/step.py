"""The gradient of one batch: in one go, or chunk by chunk in the memory of one chunk.

The chunked step is the gradient cache of Gao et al. 2021 (arXiv 2101.06983): the loss sees the embeddings of the
whole batch, made without a graph; its gradient on them is then carried into the encoder by a second pass of
each chunk. Both steps give the same gradient; the chunked one takes about a third longer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gloss_tune.finetune.memory import device_memory_guard

#: documents (b,), longest first → embeddings (b, D)
Embed: TypeAlias = Callable[[NDArray[np.int64]], Tensor]
#: embeddings (B, D) → scalars by name; ``loss`` is what is minimised
Loss: TypeAlias = Callable[[Tensor], dict[str, Tensor]]


def plain_step(
    embed: Embed, chunks: Sequence[NDArray[np.int64]], loss: Loss, context: torch.autocast
) -> dict[str, Tensor]:
    """Add the gradient of a batch to the weights', holding the graph of all chunks at once.

    Args:
        embed: the encoder in training mode.
        chunks: the batch's documents, cut.
        loss: of the whole batch's embeddings.
        context: the precision of the encoder's pass.

    Returns:
        What ``loss`` gave, without gradients.
    """
    with context:
        embeddings = torch.cat([embed(chunk) for chunk in chunks])  # (B, D)
    parts = loss(embeddings)
    parts["loss"].backward()  # type: ignore[no-untyped-call]
    return {name: part.detach() for name, part in parts.items()}


def chunked_step(
    embed: Embed,
    chunks: Sequence[NDArray[np.int64]],
    loss: Loss,
    context: torch.autocast,
    device: torch.device,
    setting: str,
) -> dict[str, Tensor]:
    """As :func:`plain_step`, but holding the graph of one chunk at a time; each goes through the encoder twice.

    Both passes of a chunk draw the same dropout: what a plain step over the same chunks draws.

    Args:
        device: of the encoder; its random state after the step is that after a plain one.
        setting: what decides how much memory the loss needs, for an error.

    Raises:
        DeviceMemoryError: memory does not suffice for the loss itself, which smaller chunks would not mend.
    """
    states, pooled = [], []
    # A GPU's attention kernel is chosen by whether gradients are wanted, and each draws dropout in its own way:
    # there the first pass is recorded too, and the record of each chunk dropped with it.
    with context, torch.set_grad_enabled(device.type != "cpu"):
        for chunk in chunks:
            states.append(random_state(device))
            pooled.append(embed(chunk).detach())
    embeddings = torch.cat(pooled).requires_grad_()  # (B, D)
    with device_memory_guard(device, setting, "The loss of a batch"):
        parts = loss(embeddings)
        parts["loss"].backward()  # type: ignore[no-untyped-call]
    assert embeddings.grad is not None
    gradients = torch.split(embeddings.grad, [len(chunk) for chunk in chunks])
    for chunk, state, gradient in zip(chunks, states, gradients, strict=True):
        set_random_state(device, state)
        # a context of its own: autocast keeps the weights that the first pass cast without a gradient
        with context:
            again = embed(chunk)
        again.backward(gradient)  # type: ignore[no-untyped-call]
    return {name: part.detach() for name, part in parts.items()}


def random_state(device: torch.device) -> Tensor:
    """State of the generator that dropout on this device draws from."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    if device.type == "mps":
        return torch.mps.get_rng_state()
    return torch.get_rng_state()


def set_random_state(device: torch.device, state: Tensor) -> None:
    """Put a state of :func:`random_state` back."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state)
    else:
        torch.set_rng_state(state)
