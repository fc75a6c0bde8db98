"""Batches: each document once, few alone in their class, else a plain shuffle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gloss_tune.data import TokenizedSplit, concatenate, epoch_batches


def deal(labels, batch_size, *, seed=0, epoch=0):
    labels = np.asarray(labels, dtype=np.int64)
    return epoch_batches(labels, np.ones(len(labels), dtype=np.int64), batch_size, seed=seed, epoch=epoch)


def alone(labels, batches):
    """Documents that are the only one of their class in their batch."""
    return sum(int((np.bincount(labels[batch]) == 1).sum()) for batch in batches)


def many_rare_classes():
    """Like r52: two large classes and fifty of 1 to 40 documents."""
    return np.repeat(np.arange(52), [2800, 1500, *np.linspace(1, 40, 50).astype(int)])


@given(st.lists(st.integers(0, 12), min_size=1, max_size=80), st.integers(2, 20), st.integers(0, 3))
def test_every_document_exactly_once_in_batches_of_the_right_size(labels, batch_size, epoch):
    batches = deal(labels, batch_size, epoch=epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(labels)))
    sizes = [len(batch) for batch in batches]
    assert set(sizes[:-1]) <= {batch_size}
    assert min(len(labels), 2) <= sizes[-1] <= batch_size + 1
    assert (sizes[-1] == batch_size + 1) == (len(labels) % batch_size == 1 and len(labels) > 1)
    assert {batch.dtype for batch in batches} == {np.dtype(np.int64)}


def test_seed_and_epoch_decide():
    labels = many_rare_classes()
    first = [batch.tolist() for batch in deal(labels, 64, seed=1, epoch=2)]
    assert [batch.tolist() for batch in deal(labels, 64, seed=1, epoch=2)] == first
    assert [batch.tolist() for batch in deal(labels, 64, seed=1, epoch=3)] != first
    assert [batch.tolist() for batch in deal(labels, 64, seed=2, epoch=2)] != first


@pytest.mark.parametrize("batch_size", [16, 64, 128])
def test_rare_classes_meet(batch_size):
    labels = many_rare_classes()
    shuffled = np.random.default_rng(0).permutation(len(labels))
    plain = [shuffled[start : start + batch_size] for start in range(0, len(labels), batch_size)]
    unavoidable = int((np.bincount(labels) == 1).sum())
    dealt = np.mean([alone(labels, deal(labels, batch_size, epoch=epoch)) for epoch in range(5)])
    assert alone(labels, plain) > 100  # the rule is needed
    assert dealt - unavoidable < alone(labels, plain) / 20


def test_a_class_of_two_or_three_is_never_torn_apart():
    labels = np.repeat(np.arange(3), [2, 3, 400])
    for epoch in range(50):
        batches = deal(labels, 16, epoch=epoch)
        homes = [next(n for n, batch in enumerate(batches) if rare in batch) for rare in range(5)]
        assert homes[0] == homes[1]
        assert homes[2] == homes[3] == homes[4]


def test_partners_change_between_epochs():
    labels = np.repeat(np.arange(2), [10, 1000])
    partners = set()
    for epoch in range(60):
        for batch in deal(labels, 16, epoch=epoch):
            if 0 in batch:
                partners |= {int(other) for other in batch if labels[other] == 0 and other != 0}
    assert partners == set(range(1, 10))


def test_large_classes_are_shuffled_plainly():
    """Class counts vary as in sampling without replacement, not as with pairs (twice the variance)."""
    labels = np.repeat([0, 1], [2000, 2000])
    size = 50
    counts = [int(labels[batch].sum()) for epoch in range(40) for batch in deal(labels, size, epoch=epoch)]
    expected = size * 0.25 * (4000 - size) / (4000 - 1)  # hypergeometric
    assert np.mean(counts) == pytest.approx(size / 2)
    assert np.var(counts) == pytest.approx(expected, rel=0.15)


def test_every_batch_gets_its_share_of_rare_classes():
    """The short last batch is not filled up with them."""
    labels = np.repeat(np.arange(21), [870] + [10] * 20)
    rare = [
        [int((labels[batch] > 0).sum()) / len(batch) for batch in deal(labels, 50, epoch=epoch)]
        for epoch in range(60)
    ]
    share = np.mean(rare, axis=0)
    assert len(share) == 22
    assert share[-1] == pytest.approx(share[:-1].mean(), abs=0.06)


def test_within_a_batch_the_longest_come_first():
    lengths = np.random.default_rng(0).integers(1, 100, size=200)
    for batch in epoch_batches(np.arange(200) % 4, lengths, 32, seed=0, epoch=0):
        assert (np.diff(lengths[batch]) <= 0).all()


def test_a_batch_of_one_is_refused():
    with pytest.raises(ValueError, match=r"batch_size is at least 2.*got 1"):
        deal([0, 1, 0], 1)


def test_concatenate_lays_documents_end_to_end():
    rows = [[7, 8, 9, 10], [5], [6, 4, 3]]
    tokens = TokenizedSplit(
        np.concatenate(rows).astype(np.int32), np.array([0, 4, 5, 8]), np.array([0, 1, 0])
    )
    input_ids, lengths = concatenate(tokens, np.array([2, 1]))
    assert input_ids.tolist() == [6, 4, 3, 5]
    assert lengths.tolist() == [3, 1]
    assert input_ids.dtype == lengths.dtype == np.int64
    assert concatenate(tokens, np.array([1, 0, 1]))[0].tolist() == [5, 7, 8, 9, 10, 5]
