"""Documents that lie end to end, cut into runs of similar length: rectangles for attention on a CPU."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Documents of a run are padded to its longest: at least so long is each of them …
_SHORTEST = 0.75
# … and so many scores of one head have they at most, which a core's cache holds for all heads.
_SCORES = 1 << 16
_VECTOR_BYTES = {"AVX512": 64, "AVX2": 32}
_OTHER_VECTOR_BYTES = 16


@dataclass(frozen=True)
class Run:
    """Documents of similar length, one after the other, that attention sees as one rectangle.

    Args:
        tokens: where they lie among all tokens.
        documents: b.
        queries: L, rows of each document's scores: tokens of the longest.
        keys: K ≥ L, columns of each document's scores: as many as fill a vector, where L would not.
        query_tokens: int64 (b · L,), which token is in each place of the rectangle, the document's last one on padding;
            None if there is no padding.
        key_tokens: likewise (b · K,).
        padding: int64, which places of (b · L) are padding; None as above.
        real: int64, which places of (b · L) are not, in the order of the tokens; None as above.
        masked: documents from, to, and how many keys of theirs are real, where that is less than K.
    """

    tokens: slice
    documents: int
    queries: int
    keys: int
    query_tokens: Tensor | None
    key_tokens: Tensor | None
    padding: Tensor | None
    real: Tensor | None
    masked: tuple[tuple[int, int, int], ...]


def lanes(dtype: torch.dtype) -> int:
    """How many numbers a vector register of this machine holds.

    Below one vector, torch's softmax goes number by number: in bfloat16 with AVX-512, forward and backward took 11 ns
    an element with 28 keys and 1.8 ns with 32.
    """
    width = _VECTOR_BYTES.get(torch.backends.cpu.get_cpu_capability(), _OTHER_VECTOR_BYTES)
    return max(1, width // dtype.itemsize)


def cut(lengths: NDArray[np.int64], offsets: NDArray[np.int64], lanes: int) -> list[Run]:
    """All documents as runs.

    Args:
        lengths: int64 (B,), tokens of each document, at least 1, falling.
        offsets: int64 (B + 1,): document i is at ``[offsets[i], offsets[i + 1])``.
        lanes: see :func:`lanes`.
    """
    return [_run(lengths, offsets, documents, lanes) for documents in _similar(lengths, lanes)]


def rectangle(
    tokens: Tensor, run: Run, places: Tensor | None, length: int, *, zero: Tensor | None = None
) -> Tensor:
    """A run's part of all tokens (T, H, d) as (b · H, length, d).

    Args:
        tokens: of all documents.
        run: the documents.
        places: ``run.query_tokens`` or ``run.key_tokens``.
        length: ``run.queries`` or ``run.keys``.
        zero: places of (b · length) to hold zeros instead; only with ``places``.
    """
    heads, width = tokens.shape[1:]
    own = tokens[run.tokens] if places is None else tokens.index_select(0, places)
    if zero is not None:
        own.index_fill_(0, zero, 0.0)
    by_document = own.reshape(run.documents, length, heads, width).transpose(1, 2)
    return by_document.reshape(run.documents * heads, length, width)


def put_back(rectangle: Tensor, run: Run, tokens: Tensor) -> None:
    """Write the real tokens of a run's rectangle (b · H, at least L, d) to their places in all tokens (T, H, d)."""
    heads, width = tokens.shape[1:]
    by_document = rectangle.view(run.documents, heads, -1, width)[:, :, : run.queries].transpose(1, 2)
    own = tokens[run.tokens]
    if run.real is None:
        own.view(run.documents, run.queries, heads, width).copy_(by_document)
    else:
        flat = by_document.reshape(run.documents * run.queries, heads, width)
        torch.index_select(flat, 0, run.real, out=own)


def _run(lengths: NDArray[np.int64], offsets: NDArray[np.int64], documents: slice, lanes: int) -> Run:
    own, starts = lengths[documents], offsets[documents]
    queries = int(own[0])
    keys = max(queries, lanes)
    places = np.arange(keys)
    # (b, K), the last token again where a document has no more
    tokens = starts[:, None] + np.minimum(places, own[:, None] - 1)
    is_real = places[:queries] < own[:, None]  # (b, L)
    ragged = bool(own[-1] < queries)
    changes = [0, *(np.flatnonzero(np.diff(own)) + 1).tolist(), len(own)]
    masked = [
        (start, stop, int(own[start])) for start, stop in itertools.pairwise(changes) if own[start] < keys
    ]
    return Run(
        slice(int(starts[0]), int(offsets[documents.stop])),
        len(own),
        queries,
        keys,
        torch.from_numpy(tokens[:, :queries].flatten()) if ragged else None,
        torch.from_numpy(tokens.flatten()) if ragged or keys > queries else None,
        torch.from_numpy(np.flatnonzero(~is_real)) if ragged else None,
        torch.from_numpy(np.flatnonzero(is_real)) if ragged else None,
        tuple(masked),
    )


def _similar(lengths: NDArray[np.int64], lanes: int) -> Iterator[slice]:
    start = 0
    while start < len(lengths):
        longest = int(lengths[start])
        similar = int(np.searchsorted(-lengths, -_SHORTEST * longest, side="right"))
        stop = min(similar, start + max(1, _SCORES // (longest * max(longest, lanes))))
        yield slice(start, stop)
        start = stop
