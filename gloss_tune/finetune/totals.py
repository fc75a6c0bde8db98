"""Sums over the steps of an epoch that a GPU keeps to itself until the epoch's report."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class StepTotals:
    """Means of loss parts, and the first step whose loss or gradient was not finite.

    ``add`` starts no wait for the device; the other methods wait once.

    Args:
        names: names of the loss parts.
        device: where they are computed.
    """

    def __init__(self, names: tuple[str, ...], device: torch.device) -> None:
        self._names = names
        # Apple's GPUs have no float64
        self._dtype = torch.float32 if device.type == "mps" else torch.float64
        self._sums = torch.zeros(len(names), dtype=self._dtype, device=device)
        self._last = torch.zeros(len(names) + 1, dtype=self._dtype, device=device)
        self._finite_steps = torch.zeros((), dtype=torch.int64, device=device)
        self._finite = torch.ones((), dtype=torch.bool, device=device)
        self._steps = 0
        self._documents = 0

    def add(self, parts: Mapping[str, Tensor], gradient_norm: Tensor, documents: int) -> None:
        """Count a step.

        Args:
            parts: scalar means over the step's documents, by name.
            gradient_norm: scalar, before clipping.
            documents: number of documents in the step.
        """
        values = torch.stack([*(parts[name].detach() for name in self._names), gradient_norm]).to(self._dtype)
        # what is reported is the first step that broke, not the ones after it
        self._last = torch.where(self._finite, values, self._last)
        self._finite &= values.isfinite().all()
        self._finite_steps += self._finite
        self._sums += values[:-1] * documents
        self._steps += 1
        self._documents += documents

    def first_broken(self) -> tuple[int, dict[str, float]] | None:
        """The first step (from 1) that was not finite, with its loss parts and ``gradient_norm``."""
        finite_steps = int(self._finite_steps)
        if finite_steps == self._steps:
            return None
        values = self._last.tolist()
        return finite_steps + 1, dict(zip((*self._names, "gradient_norm"), values, strict=True))

    def means(self) -> dict[str, float]:
        """Means over the documents, by name."""
        return dict(zip(self._names, (self._sums / max(1, self._documents)).tolist(), strict=True))
