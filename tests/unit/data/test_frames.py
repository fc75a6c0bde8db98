"""Tables of a Python process as data sets in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest

from gloss_tune.data import load_dataset
from gloss_tune.data.frames import is_frame, write_frames
from gloss_tune.errors import DataError

ROWS = {
    "text": [f'a "text" {i},\nof two lines\t{i}' for i in range(20)],
    "label": ["ä", "b"] * 10,
}


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({**ROWS, **columns})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (frame(), True),
        (datasets.Dataset.from_dict(ROWS), True),
        ({"train": frame()}, True),
        ("mr", False),
        (Path("mr"), False),
        ({}, False),
        ({"train": "mr"}, False),
        (None, False),
    ],
)
def test_what_is_a_table(data: Any, expected: bool) -> None:
    assert is_frame(data) is expected


def test_every_document_arrives_as_it_was(tmp_path: Path) -> None:
    read = load_dataset(str(write_frames({"train": frame(), "val": frame(), "test": frame()}, tmp_path)))
    found = zip(read.train.texts, (read.classes[label] for label in read.train.labels), strict=True)
    assert sorted(found) == sorted(zip(ROWS["text"], ROWS["label"], strict=True))
    assert read.test is not None
    assert len(read.val) == len(read.test) == 20


def test_a_column_split_tells_the_splits_apart(tmp_path: Path) -> None:
    parts = ["train"] * 12 + ["validation"] * 4 + ["test"] * 4
    read = load_dataset(str(write_frames(frame(split=parts), tmp_path)))
    assert read.test is not None
    assert (len(read.train), len(read.val), len(read.test)) == (12, 4, 4)


def test_a_hugging_face_data_set_has_its_classes_names(tmp_path: Path) -> None:
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "sentiment": datasets.ClassLabel(names=["neg", "pos"])}
    )
    rows = {"sentence": [f"text {i}" for i in range(20)], "sentiment": [0, 1] * 10}
    made = datasets.DatasetDict(
        {
            "train": datasets.Dataset.from_dict(rows, features),
            "validation": datasets.Dataset.from_dict(rows, features),
        }
    )
    read = load_dataset(str(write_frames(made, tmp_path, "sentence", "sentiment")))
    assert read.classes == ("neg", "pos")


def test_the_same_data_are_written_once(tmp_path: Path) -> None:
    first, again = write_frames(frame(), tmp_path), write_frames(frame(), tmp_path)
    other = write_frames(frame(label=["a", "b"] * 10), tmp_path)
    assert first == again != other
    assert len(list(tmp_path.iterdir())) == 2


def test_several_columns_of_text_are_joined(tmp_path: Path) -> None:
    made = frame(title=[f"title {i}" for i in range(20)])
    read = load_dataset(str(write_frames(made, tmp_path, "title, text")))
    assert read.train.texts[0].startswith("title 0\na ")


@pytest.mark.parametrize(
    ("data", "columns", "said"),
    [
        (frame(), {"label_column": "stars"}, "no column 'stars'; it has text, label"),
        ({"training": frame()}, {}, "got training"),
        ({"val": frame()}, {}, "needs a split train"),
        (frame(split=["train"] * 19 + ["spare"]), {}, "got spare"),
        (frame(label=["a"] * 19 + [None]), {}, "1 rows without text or label"),
    ],
)
def test_wrong_tables_are_refused_and_nothing_is_written(
    data: Any, columns: Any, said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said):
        write_frames(data, tmp_path / "data", **columns)
    assert not (tmp_path / "data").exists()
