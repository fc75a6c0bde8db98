"""Deals documents into batches in which as few as possible are the only one of their class.

G-Loss learns from a hidden document only if another of its class is visible in the same batch. Of the 52
classes of r52, most have so few documents that a plain shuffle would leave them alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gloss_tune.data.tokens import TokenizedSplit
from gloss_tune.seeding import derive_seed

SCARCE = 4.0
"""A class that a plain shuffle would give fewer documents a batch than this is kept together in pairs.

At 4, a batch holds exactly one document of the class with probability 4·exp(−4) = 7 %, and falling above.
"""


def epoch_batches(
    labels: NDArray[np.int64], lengths: NDArray[np.int64], batch_size: int, *, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """Shuffles the documents into batches for one epoch, each document exactly once.

    Classes with many documents are shuffled plainly. The documents of a scarce class (see ``SCARCE``) are
    shuffled and tied in pairs, the last three together where their number is odd; each pair goes to a random
    batch that has room for it, and the other documents fill the seats that remain. A class of one document
    stays alone in any batch.

    Args:
        labels: int64 (N,), classes of the documents, N >= 1.
        lengths: int64 (N,), tokens of each document.
        batch_size: documents in a batch, at least 2; the last batch has fewer, or one more where it would
            have just one document.
        seed: the run's seed.
        epoch: another epoch, another shuffle.

    Returns:
        Indices of documents, int64 (b,) for each batch; longest document first, so that parts of a batch that
        go through the encoder one after the other need little padding.

    Raises:
        ValueError: ``batch_size`` is below 2.
    """
    if batch_size < 2:
        raise ValueError(f"batch_size is at least 2, since the loss compares documents; got {batch_size}")
    generator = np.random.default_rng(derive_seed(seed, "batches", epoch))
    free = _batch_sizes(len(labels), batch_size)
    members: list[list[int]] = [[] for _ in free]
    groups, singles = _groups(labels, len(free), generator)
    for group in groups:
        # A seat among those of all batches with room, so that a short last batch gets no more than its share.
        room = np.cumsum(np.where(free >= len(group), free, 0))
        if room[-1] == 0:
            singles.extend(group)
            continue
        chosen = int(np.searchsorted(room, generator.integers(room[-1]), side="right"))
        members[chosen].extend(group)
        free[chosen] -= len(group)
    seats = np.repeat(np.arange(len(free)), free)
    for document, seat in zip(generator.permutation(singles), seats, strict=True):
        members[seat].append(document)
    batches = [np.array(documents, dtype=np.int64) for documents in members]
    return [batch[np.argsort(-lengths[batch], kind="stable")] for batch in batches]


def _batch_sizes(documents: int, batch_size: int) -> NDArray[np.int64]:
    full, rest = divmod(documents, batch_size)
    sizes = [batch_size] * full + [rest] * (rest > 0)
    if rest == 1 and full:
        sizes[-2:] = [batch_size + 1]
    return np.array(sizes, dtype=np.int64)


def _groups(
    labels: NDArray[np.int64], batches: int, generator: np.random.Generator
) -> tuple[list[list[int]], list[int]]:
    """Documents that stay together, largest groups first, and those that go where there is room."""
    groups: list[list[int]] = []
    singles: list[int] = []
    for label, count in enumerate(np.bincount(labels)):
        documents = generator.permutation(np.flatnonzero(labels == label)).tolist()
        if count < 2 or count >= SCARCE * batches:
            singles.extend(documents)
            continue
        pairs = [documents[start : start + 2] for start in range(0, count - 1, 2)]
        if count % 2:
            pairs[-1].append(documents[-1])
        groups.extend(pairs)
    shuffled = [groups[position] for position in generator.permutation(len(groups))]
    return sorted(shuffled, key=len, reverse=True), singles


def concatenate(
    tokens: TokenizedSplit, indices: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids of some documents end to end, without padding.

    Args:
        tokens: the split.
        indices: int64 (b,), b >= 1.

    Returns:
        ``input_ids`` int64 (T,), and int64 (b,), the tokens of each document.
    """
    starts = tokens.offsets[indices]
    lengths = tokens.offsets[indices + 1] - starts
    ends = np.cumsum(lengths)
    places = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
    return tokens.ids[places].astype(np.int64), lengths
