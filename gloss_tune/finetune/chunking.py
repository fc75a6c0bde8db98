"""How the documents of a batch are cut into chunks that go through the encoder one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gloss_tune.encoder import Encoder

# Tokens that go through the encoder at once, counted with padding to the longest document. On a CPU they are many
# enough for the matrix products and few enough for the caches; an encoder that pads wastes least in small
# rectangles. A GPU needs many tokens to be busy.
_DEFAULT_TOKENS = {"cpu": 4096, "cuda": 32768}
_PADDED_CPU_TOKENS = 1024
_OTHER_DEVICES = 4096


def default_chunk_tokens(encoder: Encoder) -> int:
    """Padded tokens that best go through an encoder at once, as long as memory suffices."""
    most = _DEFAULT_TOKENS.get(encoder.device.type, _OTHER_DEVICES)
    return most if encoder.packs or encoder.device.type != "cpu" else min(most, _PADDED_CPU_TOKENS)


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
        encoder: with its device.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._default = default_chunk_tokens(encoder)
        #: what memory allowed; None until it ran short
        self.lowered: int | None = None

    @property
    def tokens(self) -> int:
        """The most padded tokens of a chunk; a longer document is a chunk of its own."""
        return self._default if self.lowered is None else self.lowered

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
