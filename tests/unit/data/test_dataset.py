"""Canonical form, fingerprint, and fitness for classification."""

from __future__ import annotations

import itertools

import pytest

from gloss_tune.data.dataset import build_dataset, canonical, fingerprint, quoted
from gloss_tune.errors import DataError

TRAIN = [("one", "a"), ("two", "b"), ("three\nlines", "a")]
VAL = [("four", "b")]


def built(train, val=VAL, **more):
    return build_dataset("mine", "mine.csv", {"train": canonical(train), "val": canonical(val), **more})


def test_row_order_line_ends_and_outer_white_space_do_not_matter():
    expected = canonical(TRAIN)
    for rows in itertools.permutations([("one \n", "a"), (" two", " b"), ("three\r\nlines", "a")]):
        assert canonical(rows) == expected
    assert sorted(expected) == sorted(TRAIN)
    assert canonical([("three\rlines", "a")]) == [("three\nlines", "a")]


def test_canonical_order_separates_what_was_sorted_by_class():
    documents = canonical([(f"text {number}", "ab"[number >= 500]) for number in range(1000)])
    changes = sum(first[1] != second[1] for first, second in itertools.pairwise(documents))
    assert 400 < changes < 600  # 1 where nothing is shuffled, 500 expected of a perfect shuffle


def test_fingerprint_is_pinned():
    # A fingerprint is stored in studies: a change of its recipe would lock every running study.
    splits = {"train": canonical(TRAIN), "val": canonical(VAL)}
    assert fingerprint(splits) == built(TRAIN).fingerprint == "bab13066a538658b"


@pytest.mark.parametrize(
    ("train", "val", "more"),
    [
        ([*TRAIN[:2], ("three lines", "a")], VAL, {}),
        ([("one", "b"), *TRAIN[1:]], VAL, {}),
        ([*TRAIN, TRAIN[0]], VAL, {}),
        ([*TRAIN, *VAL], [TRAIN[1]], {}),
        (TRAIN, VAL, {"test": [("five", "a")]}),
        ([("onea", "a"), *TRAIN[1:]], VAL, {}),
    ],
)
def test_any_change_of_content_changes_the_fingerprint(train, val, more):
    assert built(train, val, **more).fingerprint != built(TRAIN).fingerprint


def test_labels_index_the_sorted_classes():
    dataset = built([("x", "10"), ("y", "9"), ("z", "9")], [("w", "10")])
    assert dataset.classes == ("10", "9")
    named = {
        text: dataset.classes[label]
        for text, label in zip(dataset.train.texts, dataset.train.labels, strict=True)
    }
    assert named == {"x": "10", "y": "9", "z": "9"}
    assert dataset.train.labels.dtype == "int64"
    assert not dataset.train.labels.flags.writeable
    assert dataset.test is None
    assert len(dataset.train) == 3


def test_a_class_that_train_lacks_is_refused():
    with pytest.raises(DataError, match=r"val of mine\.csv has 'c', 'd' and train does not"):
        built(TRAIN, [("x", "d"), ("y", "c"), ("z", "a")])
    with pytest.raises(DataError, match=r"test of mine\.csv has 'c' and train"):
        built(TRAIN, test=[("x", "c")])


def test_fewer_classes_in_val_are_fine():
    assert built([*TRAIN, ("rare", "c")], VAL).classes == ("a", "b", "c")


def test_one_class_is_refused():
    with pytest.raises(DataError, match=r"at least two classes, but mine.csv has 1 in train \('a'\)"):
        built([("x", "a"), ("y", "a")], [("z", "a")])


def test_texts_shared_between_splits_are_counted_once_each():
    train = [*TRAIN, ("both", "a"), ("both", "a"), ("thrice", "b")]
    dataset = built(train, [("both", "b"), ("both ", "a"), ("thrice", "b")], test=[("thrice", "b")])
    train_val, train_test, val_test = dataset.warnings
    assert train_val.startswith("2 texts of train also occur in val")
    assert train_test.startswith("1 text of train also occurs in test")
    assert val_test.startswith("1 text of val also occurs in test")
    assert built(TRAIN).warnings == ()


def test_quoted():
    assert quoted(["a", "b"]) == "'a', 'b'"
    assert quoted(list("abc"), most=2) == "'a', 'b' and 1 more"
