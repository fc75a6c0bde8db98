"""How the documents of a batch are cut into chunks that go through the encoder one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# Padded tokens that go through the encoder at once. On a CPU small rectangles waste least padding and stay in
# its caches; a GPU needs many tokens to be busy.
_DEFAULT_TOKENS = {"cpu": 1024, "cuda": 32768}
_OTHER_DEVICES = 4096


def default_chunk_tokens(device_type: str) -> int:
    """Padded tokens that best go through the encoder at once, as long as memory suffices."""
    return _DEFAULT_TOKENS.get(device_type, _OTHER_DEVICES)


def chunks(lengths: NDArray[np.int64], max_tokens: int) -> Iterator[slice]:
    """Cut documents, longest first, into runs of at most ``max_tokens`` when padded to their longest.

    Args:
        lengths: int64 (B,), tokens of each document, falling.
        max_tokens: at least 1; a document longer than that is a run of its own.
    """
    start = 0
    while start < len(lengths):
        size = max(1, max_tokens // int(lengths[start]))
        yield slice(start, min(start + size, len(lengths)))
        start += size


def padded_tokens(lengths: NDArray[np.int64], chunk: slice) -> int:
    """Tokens of a chunk of documents, longest first, when padded to its longest."""
    return len(lengths[chunk]) * int(lengths[chunk.start])


class ChunkLimit:
    """The most padded tokens of a chunk: the device's best, and less each time that its memory runs short.

    Args:
        device_type: ``cpu``, ``cuda``, ….
    """

    def __init__(self, device_type: str) -> None:
        self._device_type = device_type
        #: what memory allowed; None until it ran short
        self.lowered: int | None = None

    @property
    def tokens(self) -> int:
        """The most padded tokens of a chunk; a longer document is a chunk of its own."""
        lowered = self.lowered
        return default_chunk_tokens(self._device_type) if lowered is None else lowered

    def halve(self, lengths: NDArray[np.int64]) -> bool:
        """Allow half of what the largest chunk of these documents has now.

        Args:
            lengths: int64 (B,), tokens of the documents for which memory did not suffice, falling.

        Returns:
            Whether that makes any chunk smaller: False where each holds one document.
        """
        now = list(chunks(lengths, self.tokens))
        if len(now) == len(lengths):
            return False
        self.lowered = max(1, max(padded_tokens(lengths, chunk) for chunk in now) // 2)
        return True
