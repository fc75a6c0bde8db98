"""Stratified folds of a data set: each document is validated on once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gloss_tune.data.dataset import Split, TextDataset, canonical, quoted
from gloss_tune.data.splits import sample
from gloss_tune.errors import DataError
from gloss_tune.seeding import derive_seed
from gloss_tune.wording import count

# what scikit-learn takes for a seed
_SEEDS = 2**32


@dataclass(frozen=True, eq=False)
class Fold:
    """Positions in the pooled documents, int64, in rising order: what is trained on, and what is held out of it."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]


def pooled(dataset: TextDataset, most: int | None = None) -> Split:
    """The documents of train and val together in canonical order: the same, whatever was held out of train.

    Args:
        dataset: as a study sees it.
        most: documents to keep, a stratified sample; None for all.
    """
    number = {name: place for place, name in enumerate(dataset.classes)}
    documents = canonical(
        (text, dataset.classes[label])
        for split in (dataset.train, dataset.val)
        for text, label in zip(split.texts, split.labels.tolist(), strict=True)
    )
    labels = np.array([number[label] for _, label in documents], dtype=np.int64)
    labels.flags.writeable = False
    whole = Split(tuple(text for text, _ in documents), labels)
    return whole if most is None else sample(whole, most, derive_seed(0, "pool"), len(number))


def stratified_folds(labels: NDArray[np.int64], folds: int, seed: int) -> list[Fold]:
    """As scikit-learn's ``StratifiedKFold`` with ``shuffle`` splits them.

    Args:
        labels: (N,) classes, each at least ``folds`` times.
        folds: how many, at least 2.
        seed: another seed, other folds.
    """
    from sklearn.model_selection import StratifiedKFold

    splitter = StratifiedKFold(folds, shuffle=True, random_state=derive_seed(seed, "folds") % _SEEDS)
    return [Fold(train, val) for train, val in splitter.split(labels, labels)]


def check_folds(dataset: TextDataset, folds: int, most: int | None = None) -> str:
    """What is said of a study's folds.

    Args:
        dataset: as the study sees it.
        folds: how many, at least 2.
        most: documents that they are made of; None for all.

    Raises:
        DataError: a class has fewer documents than there are folds.
    """
    pool = pooled(dataset, most)
    counts = np.bincount(pool.labels, minlength=len(dataset.classes))
    few = [dataset.classes[place] for place in np.flatnonzero(counts < folds)]
    if few:
        most = int(counts.min())
        least = dataset.classes[int(counts.argmin())]
        advice = f"set train.folds to {most} at most" if most > 1 else "leave train.folds out"
        raise DataError(
            f"Every class needs a document in each of the {folds} folds, but of the {count(len(pool), 'document')} of "
            f"train and val {count(len(few), 'class', 'classes')} {'has' if len(few) == 1 else 'have'} fewer: "
            f"{quoted(few)} ({least!r} has {most}). Add documents, or {advice}."
        )
    size = len(pool) // folds
    sizes = f"{size:,}" if len(pool) % folds == 0 else f"{size:,} or {size + 1:,}"
    documents = f"{'' if most is None else 'a sample of '}{len(pool):,} documents"
    said = (
        f"train and val together, {documents}, in {folds} stratified folds of {sizes}, each validated on once; the "
        "mean over them is a trial's value"
    )
    again = sum(number > 1 for number in Counter(pool.texts).values())
    if again:
        said += f" ({count(again, 'text')} more than once, whose copies may come to stand in two folds)"
    return said
