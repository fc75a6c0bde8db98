"""Stratified folds: a partition, the same for the same seed, and refused where a class is too small."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gloss_tune.data import check_folds, pooled, stratified_folds
from gloss_tune.data.dataset import TextDataset, build_dataset, canonical
from gloss_tune.data.splits import hold_out
from gloss_tune.errors import DataError

LABELS = np.array([0] * 17 + [1] * 9 + [2] * 5)


def dataset(train: int, val: int, rare: int = 0, text: str = "text") -> TextDataset:
    def documents(name: str, size: int) -> list[tuple[str, str]]:
        return [
            (f"{name} {text if number else 'first'} {number}", "ab"[number % 2]) for number in range(size)
        ]

    few = [(f"rare {number}", "rare") for number in range(rare)]
    splits = {"train": canonical(documents("train", train) + few), "val": canonical(documents("val", val))}
    return build_dataset("mine", "mine.csv", splits)


@pytest.mark.parametrize("folds", [2, 3, 5])
@pytest.mark.parametrize("seed", [0, 7, 2**62])
def test_each_document_is_held_out_once_and_each_class_is_spread(folds: int, seed: int) -> None:
    found = stratified_folds(LABELS, folds, seed)
    assert len(found) == folds
    assert sorted(np.concatenate([fold.val for fold in found])) == list(range(len(LABELS)))
    for fold in found:
        assert sorted([*fold.train, *fold.val]) == list(range(len(LABELS)))
        for label in range(3):
            fair = (label == LABELS).sum() / folds
            assert abs((LABELS[fold.val] == label).sum() - fair) < 1


def test_the_seed_decides_the_folds() -> None:
    def vals(seed: int) -> list[list[int]]:
        return [fold.val.tolist() for fold in stratified_folds(LABELS, 5, seed)]

    assert vals(3) == vals(3)
    assert vals(3) != vals(4)


def test_the_pool_is_train_and_val_whatever_was_held_out() -> None:
    whole = dataset(40, 10)
    pool = pooled(whole)
    assert len(pool) == 50
    documents = [(text, whole.classes[label]) for text, label in zip(pool.texts, pool.labels, strict=True)]
    for seed in (1, 2):
        train, val = hold_out(documents, seed, "mine.csv")
        again = pooled(build_dataset("mine", "mine.csv", {"train": train, "val": val}))
        assert again.texts == pool.texts
        equal: NDArray[np.bool_] = again.labels == pool.labels
        assert equal.all()


def test_what_is_said_of_folds() -> None:
    assert "train and val together, 50 documents, in 5 stratified folds of 10," in check_folds(
        dataset(40, 10), 5
    )
    assert "in 4 stratified folds of 12 or 13," in check_folds(dataset(40, 10), 4)
    train = [("same", "a"), ("same", "a"), *((f"t{number}", "ab"[number % 2]) for number in range(8))]
    twice = build_dataset(
        "mine", "mine.csv", {"train": canonical(train), "val": canonical([("v", "a"), ("w", "b")])}
    )
    assert "1 text more than once" in check_folds(twice, 2)


def test_a_sample_of_the_pool_holds_so_many_documents() -> None:
    pool = pooled(dataset(40, 10), 20)
    assert len(pool) == 20
    assert np.bincount(pool.labels).tolist() == [10, 10]
    assert "a sample of 20 documents, in 5 stratified folds of 4" in check_folds(dataset(40, 10), 5, 20)


@pytest.mark.parametrize(
    ("rare", "advice"),
    [
        (4, r"\('rare' has 4\).*set train\.folds to 4 at most"),
        (1, r"\('rare' has 1\).*leave train\.folds out"),
    ],
)
def test_a_class_of_fewer_documents_than_folds_is_refused(rare: int, advice: str) -> None:
    with pytest.raises(DataError, match=advice):
        check_folds(dataset(40, 10, rare), 5)
    if rare > 1:
        check_folds(dataset(40, 10, rare), rare)
