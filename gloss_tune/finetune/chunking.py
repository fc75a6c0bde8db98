"""How the documents of a batch are cut into chunks that go through the encoder by themselves."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from gloss_tune.encoder import Encoder

# Tokens of a chunk. On a CPU they are many enough for the matrix products and few enough for the caches; an encoder
# that pads wastes least in small rectangles. A GPU needs many tokens to be busy.
_DEFAULT_TOKENS = {"cpu": 2048, "cuda": 32768}
_PADDED_CPU_TOKENS = 1024
_OTHER_DEVICES = 4096
# Whatever the number of threads, so that a chunk's dropout does not depend on it.
_SIDE_BY_SIDE = 2


class ChunkLimit:
    """The most tokens of a chunk: the device's best, and less each time that its memory runs short.

    They are counted with padding to the longest document of the chunk, but for an encoder that needs none on a CPU or a
    CUDA device.

    Args:
        encoder: with its device.
    """

    def __init__(self, encoder: Encoder) -> None:
        on_cpu = encoder.device.type == "cpu"
        best = _DEFAULT_TOKENS.get(encoder.device.type, _OTHER_DEVICES)
        self._default = min(best, _PADDED_CPU_TOKENS) if on_cpu and not encoder.packs else best
        self._cut = padded_chunks
        if encoder.packs and encoder.device.type in ("cpu", "cuda"):
            self._cut = even_chunks if on_cpu else filled_chunks
        #: what memory allowed; None until it ran short
        self.lowered: int | None = None

    @property
    def tokens(self) -> int:
        """The most tokens of a chunk; a longer document is a chunk of its own."""
        return self._default if self.lowered is None else self.lowered

    def cut(self, lengths: NDArray[np.int64]) -> list[slice]:
        """Cut documents into chunks.

        Args:
            lengths: int64 (B,), tokens of each document, falling.
        """
        return self._cut(lengths, self.tokens)

    def counts(self, lengths: NDArray[np.int64]) -> list[int]:
        """Tokens of each chunk of these documents."""
        return [
            len(lengths[chunk]) * int(lengths[chunk.start])
            if self._cut is padded_chunks
            else int(lengths[chunk].sum())
            for chunk in self.cut(lengths)
        ]

    def lower(self, lengths: NDArray[np.int64], *, together: bool) -> bool:
        """Allow half of what the largest chunk of these documents has now; chunks held together, one at a time.

        Args:
            lengths: int64 (B,), tokens of the documents for which memory did not suffice, falling.
            together: whether several chunks were in memory.

        Returns:
            Whether that changes anything: False where each chunk holds one document.
        """
        counts = self.counts(lengths)
        if together and len(counts) > 1:
            self.lowered = self.tokens
            return True
        if len(counts) == len(lengths):
            return False
        self.lowered = max(1, max(counts) // 2)
        return True


def padded_chunks(lengths: NDArray[np.int64], max_tokens: int) -> list[slice]:
    """Cut documents, longest first, into runs of at most so many tokens when padded to their longest.

    Args:
        lengths: int64 (B,), tokens of each document, falling.
        max_tokens: at least 1; a document longer than that is a run of its own.
    """
    runs, start = [], 0
    while start < len(lengths):
        size = max(1, max_tokens // max(1, int(lengths[start])))  # a text of unknown words may have no token
        runs.append(slice(start, min(start + size, len(lengths))))
        start += size
    return runs


def filled_chunks(lengths: NDArray[np.int64], max_tokens: int) -> list[slice]:
    """Cut documents, longest first, into as few runs as there can be of at most so many tokens, without padding.

    Args:
        lengths: int64 (B,), tokens of each document, falling.
        max_tokens: at least 1; a document longer than that is a run of its own.
    """
    ends = np.cumsum(lengths)
    runs, start, before = [], 0, 0
    while start < len(lengths):
        stop = max(start + 1, int(np.searchsorted(ends, before + max_tokens, side="right")))
        runs.append(slice(start, stop))
        start, before = stop, int(ends[stop - 1])
    return runs


def even_chunks(lengths: NDArray[np.int64], max_tokens: int) -> list[slice]:
    """Cut documents, longest first, into an even number of runs of about as many tokens each.

    So two threads that take one run after the other are done at the same time.

    Args:
        lengths: int64 (B,), tokens of each document, falling.
        max_tokens: at least 1; a document longer than that is a run of its own.
    """
    ends = np.cumsum(lengths)
    total = int(ends[-1])
    count = 0
    while True:
        count = max(count + _SIDE_BY_SIDE, -(-total // (max_tokens * _SIDE_BY_SIDE)) * _SIDE_BY_SIDE)
        # a document goes where its middle is
        cuts = np.searchsorted(ends - lengths / 2, total * np.arange(1, count) / count)
        edges = np.unique([0, *cuts, len(lengths)])
        tokens = np.diff(ends[edges[1:] - 1], prepend=0)
        if np.all((tokens <= max_tokens) | (np.diff(edges) == 1)):
            return [slice(start, stop) for start, stop in itertools.pairwise(edges.tolist())]
