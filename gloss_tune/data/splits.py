"""Seeded stratified samples: a validation split out of train, and a smaller train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gloss_tune.data.dataset import Document, Split, TextDataset
from gloss_tune.errors import DataError
from gloss_tune.seeding import derive_seed

HOLDOUT_FRACTION = 0.1


def hold_out(
    documents: Sequence[Document], seed: int, source: str, *, each_class: bool = True
) -> tuple[list[Document], list[Document]]:
    """Takes a seeded, stratified tenth of train for validation.

    Every class keeps at least one document in train, and gives one to validation if it has two. A text that occurs
    more than once stays in train with all its copies, so that validation never sees a training text.

    Args:
        documents: the canonical documents of train.
        seed: another seed, another tenth.
        source: where they came from, for the message.
        each_class: whether a class too small for a tenth gives one all the same; release 0.1 did not see to it.

    Returns:
        Train and val, both in canonical order; val holds at least one document.

    Raises:
        DataError: no document can be spared.
    """
    copies = Counter(text for text, _ in documents)
    index = {name: number for number, name in enumerate(sorted({label for _, label in documents}))}
    labels = np.fromiter((index[label] for _, label in documents), np.int64, len(documents))
    counts = np.bincount(labels, minlength=len(index))
    once = np.fromiter((copies[text] == 1 for text, _ in documents), np.bool_, len(documents))
    spare = np.minimum(np.bincount(labels[once], minlength=len(index)), counts - 1)
    if spare.sum() == 0:
        raise DataError(
            f"Without a val split, a tenth of train is held out, but no class of {source} has a second document to "
            f"spare: {_why_none(copies, counts)}"
        )
    at_least = np.minimum(spare, 1) if each_class else np.zeros_like(counts)
    shares = allocate(counts, max(1, round(HOLDOUT_FRACTION * len(documents))), at_least, spare)
    held = _draw(np.flatnonzero(once), labels[once], shares, derive_seed(seed, "hold out"))
    chosen = set(held.tolist())
    train = [document for position, document in enumerate(documents) if position not in chosen]
    return train, [documents[position] for position in held]


def _why_none(copies: Mapping[str, int], counts: NDArray[np.int64]) -> str:
    documents, classes = int(counts.sum()), len(counts)
    if classes == documents:
        swapped = " Are the columns of texts and labels swapped?" if documents > 3 else ""
        return f"its {documents} documents have as many different labels.{swapped} Add documents, or give a val split."
    if all(number > 1 for number in copies.values()):
        return (
            f"each of its {len(copies)} texts occurs more than once, among {documents} documents, and copies stay "
            "together. Are the columns of texts and labels swapped? If not, remove the copies, or give a val split."
        )
    return "those with more hold copies of the same texts, which stay together. Add documents, or give a val split."


def subsample(dataset: TextDataset, max_train_docs: int, seed: int) -> TextDataset:
    """A smaller run of the real thing: a seeded, stratified sample of train, with val and test whole.

    Args:
        dataset: the whole data set.
        max_train_docs: documents to keep, at least 2. Each class keeps one as long as that many allow it,
            the larger classes first.
        seed: another seed, another sample.

    Returns:
        The data set with the smaller train. Name, classes and fingerprint stay those of the whole.

    Raises:
        DataError: ``max_train_docs`` is below 2.
    """
    if max_train_docs < 2:
        raise DataError(
            f"max_train_docs is at least 2, not {max_train_docs}. Leave it out to use all of train."
        )
    sampled = sample(dataset.train, max_train_docs, derive_seed(seed, "subsample"), len(dataset.classes))
    return dataset if sampled is dataset.train else replace(dataset, train=sampled)


def subsample_val(dataset: TextDataset, max_val_docs: int, seed: int) -> TextDataset:
    """The data set with a seeded, stratified sample of val, as :func:`subsample` takes one of train.

    Raises:
        DataError: ``max_val_docs`` is below 2.
    """
    if max_val_docs < 2:
        raise DataError(f"max_val_docs is at least 2, not {max_val_docs}. Leave it out to use all of val.")
    sampled = sample(dataset.val, max_val_docs, derive_seed(seed, "subsample val"), len(dataset.classes))
    return dataset if sampled is dataset.val else replace(dataset, val=sampled)


def sample(split: Split, most: int, seed: int, num_classes: int) -> Split:
    """A seeded, stratified sample of a split; the split itself where it has no more documents than wanted."""
    if most >= len(split):
        return split
    counts = np.bincount(split.labels, minlength=num_classes)
    at_least = np.zeros_like(counts)
    at_least[np.argsort(-counts, kind="stable")[:most]] = 1
    shares = allocate(counts, most, np.minimum(at_least, counts), counts)
    kept = _draw(np.arange(len(split)), split.labels, shares, seed)
    labels = split.labels[kept]
    labels.flags.writeable = False
    return Split(tuple(split.texts[position] for position in kept), labels)


def allocate(
    counts: NDArray[np.int64], total: int, at_least: NDArray[np.int64], at_most: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Shares a total among classes in proportion to their counts (largest remainders), within bounds.

    Args:
        counts: (C,) documents of each class.
        total: what is shared out; the bounds win over it where both cannot hold.
        at_least: (C,) smallest share of each class.
        at_most: (C,) largest share of each class.

    Returns:
        int64 (C,).
    """
    fair = total * counts / counts.sum()
    shares: NDArray[np.int64] = np.clip(np.floor(fair).astype(np.int64), at_least, at_most)
    while (missing := int(np.sign(total - shares.sum()))) != 0:
        free = shares < at_most if missing > 0 else shares > at_least
        if not free.any():
            break
        shares[np.argmax(np.where(free, missing * (fair - shares), -np.inf))] += missing
    return shares


def _draw(
    positions: NDArray[np.int64], labels: NDArray[np.int64], shares: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """So many positions of each class at random, in rising order."""
    generator = np.random.default_rng(seed)
    drawn = [
        generator.permutation(positions[labels == label])[:share]
        for label, share in enumerate(shares)
        if share
    ]
    return np.sort(np.concatenate(drawn))
