"""Documents laid end to end, and where each one is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gloss_tune.encoder.buckets import Run, cut


class Layout:
    """Documents without padding, longest first.

    Args:
        lengths: int64 (B,), tokens of each document, at least 1, falling.
        device: of the tensors made here.
    """

    def __init__(self, lengths: NDArray[np.int64], device: torch.device) -> None:
        self.lengths = lengths
        self.device = device
        self.longest = int(lengths[0])
        self.shortest = int(lengths[-1])
        self._runs: dict[int, list[Run]] = {}

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Layout:
        """From plain numbers."""
        return cls(np.array(lengths, dtype=np.int64), device)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """int64 (B + 1,): document i is at ``[offsets[i], offsets[i + 1])``."""
        return np.concatenate([[0], np.cumsum(self.lengths)])

    @cached_property
    def offsets_on_device(self) -> Tensor:
        """As :attr:`offsets`."""
        return from_numpy(self.offsets, self.device)

    @cached_property
    def boundaries(self) -> Tensor:
        """As :attr:`offsets`, int32: what attention's kernels take."""
        return from_numpy(self.offsets.astype(np.int32), self.device)

    @cached_property
    def positions(self) -> Tensor:
        """int64 (T,), each token's place in its document, from 0."""
        total = int(self.offsets[-1])
        return from_numpy(np.arange(total) - np.repeat(self.offsets[:-1], self.lengths), self.device)

    def runs(self, lanes: int) -> list[Run]:
        """All documents, cut for attention on a CPU; see :func:`gloss_tune.encoder.buckets.cut`."""
        if lanes not in self._runs:
            self._runs[lanes] = cut(self.lengths, self.offsets, lanes)
        return self._runs[lanes]

    def filled(self) -> Layout:
        """With documents that nobody asked for at the end, so that few totals of tokens occur: see :func:`_rounded`."""
        total = int(self.lengths.sum())
        whole, rest = divmod(_rounded(total) - total, self.shortest)
        return Layout(
            np.concatenate([self.lengths, [self.shortest] * whole, [rest] * (rest > 0)]).astype(np.int64),
            self.device,
        )

    @cached_property
    def mask(self) -> Tensor:
        """int64 (B, L), 1 where a rectangle of the documents has a token and 0 where it has padding."""
        return from_numpy(self._is_real.astype(np.int64), self.device)

    @cached_property
    def places(self) -> Tensor:
        """int64 (T,), each token's place in a rectangle of the documents (B · L)."""
        return from_numpy(np.flatnonzero(self._is_real), self.device)

    def padded(self, states: Tensor) -> Tensor:
        """States of the tokens (T, D) as a rectangle (B, L, D) of zeros elsewhere."""
        rows, columns = self._is_real.shape
        flat = states.new_zeros(rows * columns, states.shape[1]).index_copy(0, self.places, states)
        return flat.view(rows, columns, -1)

    def unpacked(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`padded`, and the rectangle's :attr:`mask`."""
        return self.padded(states), self.mask

    @cached_property
    def _is_real(self) -> NDArray[np.bool_]:
        return np.arange(self.longest) < self.lengths[:, None]


def _rounded(tokens: int) -> int:
    """A total a little higher, at most by a 32nd or by 7.

    oneDNN compiles and keeps a kernel with its buffers for every shape of matrix that it meets, some megabytes each. As
    many shapes as batches have different numbers of tokens are too many; so there are at most 32 for each doubling.
    """
    step = max(8, 1 << max(tokens // 32, 1).bit_length() - 1)
    return -(-tokens // step) * step


def from_numpy(array: NDArray[Any], device: torch.device) -> Tensor:
    """A tensor on a device, without a wait for it."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        # from pinned memory the copy runs beside the computation instead of waiting for it
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
