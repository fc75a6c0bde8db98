"""Stratified samples."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gloss_tune.data.dataset import build_dataset, canonical
from gloss_tune.data.splits import allocate, hold_out, subsample
from gloss_tune.errors import DataError


def classes_of(documents):
    return Counter(label for _, label in documents)


def dataset_of(rows):
    return build_dataset("mine", "mine.csv", {"train": canonical(rows), "val": canonical(rows[:1])})


def test_a_tenth_of_each_class_is_held_out(make_rows):
    documents = canonical(make_rows(a=200, b=100, c=10))
    train, val = hold_out(documents, 0, "mine")
    assert classes_of(val) == {"a": 20, "b": 10, "c": 1}
    assert sorted(train + val) == sorted(documents)
    assert train == canonical(train)
    assert val == canonical(val)


def test_hold_out_depends_on_the_seed_and_on_nothing_else(make_rows):
    rows = make_rows(a=60, b=40)
    first, again = hold_out(canonical(rows), 3, "x"), hold_out(canonical(rows[::-1]), 3, "y")
    assert first == again
    assert first != hold_out(canonical(rows), 4, "x")


def test_rare_classes_keep_a_training_document(make_rows):
    train, val = hold_out(canonical(make_rows(a=50, b=1, c=1, d=2)), 0, "mine")
    assert set(classes_of(train)) == {"a", "b", "c", "d"}
    assert len(val) == 5


def test_copies_stay_in_train(make_rows):
    rows = make_rows(a=20, b=20)
    documents = canonical([*rows, *rows[:18], *rows[20:38]])
    for seed in range(20):
        train, val = hold_out(documents, seed, "mine")
        assert val
        assert not {text for text, _ in train} & {text for text, _ in val}


def test_two_small_classes_still_give_one_validation_document(make_rows):
    train, val = hold_out(canonical(make_rows(a=2, b=1)), 0, "mine")
    assert classes_of(val) == {"a": 1}
    assert classes_of(train) == {"a": 1, "b": 1}


def test_nothing_to_hold_out(make_rows):
    with pytest.raises(DataError, match="no class of mine has a second document"):
        hold_out(canonical(make_rows(a=1, b=1)), 0, "mine")


def test_subsample_is_stratified_and_leaves_the_rest_alone(make_rows):
    whole = dataset_of(make_rows(a=300, b=100, c=2))
    part = subsample(whole, 40, seed=1)
    assert len(part.train) == 40
    assert np.bincount(part.train.labels).tolist() == [29, 10, 1]  # fair: 29.85, 9.95, 0.2
    assert set(part.train.texts) < set(whole.train.texts)
    for text, label in zip(part.train.texts, part.train.labels, strict=True):
        assert text.endswith(whole.classes[label])
    assert (part.val, part.test, part.classes, part.name) == (
        whole.val,
        whole.test,
        whole.classes,
        whole.name,
    )
    assert part.fingerprint == whole.fingerprint
    assert subsample(whole, 40, seed=1).train.texts == part.train.texts
    assert subsample(whole, 40, seed=2).train.texts != part.train.texts


def test_subsample_keeps_every_class_as_long_as_it_can(make_rows):
    whole = dataset_of(make_rows(a=500, b=1, c=1, d=3))
    assert np.bincount(subsample(whole, 4, seed=0).train.labels).tolist() == [1, 1, 1, 1]
    assert np.bincount(subsample(whole, 2, seed=0).train.labels, minlength=4).tolist() == [1, 0, 0, 1]


def test_subsample_of_all_or_more_is_the_whole(make_rows):
    whole = dataset_of(make_rows(a=3, b=3))
    assert subsample(whole, 6, seed=0) is whole
    assert subsample(whole, 7, seed=0) is whole
    with pytest.raises(DataError, match="at least 2, not 1"):
        subsample(whole, 1, seed=0)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.data())
def test_allocate_spends_the_total_within_the_bounds(counts, data):
    counts = np.array(counts)
    at_least = np.array([data.draw(st.integers(0, min(1, count))) for count in counts])
    at_most = np.array(
        [data.draw(st.integers(low, count)) for low, count in zip(at_least, counts, strict=True)]
    )
    total = data.draw(st.integers(int(at_least.sum()), int(at_most.sum())))
    shares = allocate(counts, total, at_least, at_most)
    assert shares.sum() == total
    assert (at_least <= shares).all()
    assert (shares <= at_most).all()


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(0, 50))
def test_allocate_without_bounds_is_off_by_less_than_one(counts, total):
    counts = np.array(counts)
    total = min(total, int(counts.sum()))
    shares = allocate(counts, total, np.zeros_like(counts), counts)
    assert np.abs(shares - total * counts / counts.sum()).max() < 1
