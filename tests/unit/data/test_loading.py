"""From a name or a path to a data set."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gloss_tune.data import DATASETS, load_dataset
from gloss_tune.data.reading import SUFFIXES
from gloss_tune.errors import DataError


@pytest.fixture
def rows(make_rows):
    return {"train": make_rows(a=30, b=20), "val": make_rows("another", a=3), "test": make_rows("last", b=2)}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_gives_the_same_data_in_every_format_and_with_any_column_names(
    tmp_path, write_table, rows, suffix
):
    for split in rows:
        write_table(tmp_path / "reference" / f"{split}.csv", rows[split])
        write_table(tmp_path / "mine" / f"{split}{suffix}", rows[split][::-1], ("body", "topic"))
    reference = load_dataset(str(tmp_path / "reference"))
    mine = load_dataset(str(tmp_path / "mine"), text_column="body", label_column="topic")
    assert mine.fingerprint == reference.fingerprint
    assert mine.train.texts == reference.train.texts
    assert (mine.name, mine.classes, mine.warnings) == ("mine", ("a", "b"), ())
    assert (len(mine.train), len(mine.val), len(mine.test)) == (50, 3, 2)
    assert mine.source == str(tmp_path / "mine")


def test_without_val_a_seeded_tenth_of_train(tmp_path, write_table, rows):
    write_table(tmp_path / "mine" / "train.csv", rows["train"])
    write_table(tmp_path / "mine" / "test.csv", rows["test"])
    dataset = load_dataset(str(tmp_path / "mine"), seed=1)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (45, 5, 2)
    assert {*dataset.train.texts, *dataset.val.texts} == {text for text, _ in rows["train"]}
    assert load_dataset(str(tmp_path / "mine"), seed=1).fingerprint == dataset.fingerprint
    assert load_dataset(str(tmp_path / "mine"), seed=2).fingerprint != dataset.fingerprint


def test_one_file(tmp_path, write_table, rows, monkeypatch):
    write_table(tmp_path / "reviews.csv", rows["train"])
    dataset = load_dataset(str(tmp_path / "reviews.csv"))
    assert (dataset.name, len(dataset.train), len(dataset.val), dataset.test) == ("reviews", 45, 5, None)
    monkeypatch.chdir(tmp_path)
    assert load_dataset("reviews.csv").fingerprint == dataset.fingerprint


def test_a_name_under_the_data_dir(tmp_path, write_table, rows):
    write_table(tmp_path / "mine" / "train.csv", rows["train"])
    assert load_dataset("mine", data_dir=tmp_path).name == "mine"


def test_files_under_other_names_are_mentioned(tmp_path, write_table, rows):
    for name in ("train.csv", "extra.csv"):
        write_table(tmp_path / "mine" / name, rows["train"])
    (warning,) = load_dataset(str(tmp_path / "mine")).warnings
    assert "also has 'extra.csv'" in warning


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["train.csv", "train.tsv"], "has 'train.csv', 'train.tsv'. Keep one"),
        (["val.csv"], "A data folder holds train with one of the endings"),
    ],
)
def test_unclear_folders(tmp_path, write_table, rows, files, said):
    for file in files:
        write_table(tmp_path / "mine" / file, rows["train"])
    with pytest.raises(DataError, match=said):
        load_dataset(str(tmp_path / "mine"))


@pytest.mark.parametrize(
    ("name", "hint"), [("20mg", "Did you mean 20ng"), ("R8", "Did you mean r8"), ("", "Check")]
)
def test_unknown_names(tmp_path, name, hint):
    with pytest.raises(DataError, match=hint) as caught:
        load_dataset(name, data_dir=tmp_path)
    assert "mr, r8, r52, ohsumed, 20ng, stdlib" in str(caught.value)


def test_a_published_data_set_from_the_data_dir(tmp_path, write_table):
    """Upstream's number labels become names; content other than the published is mentioned."""
    for split in ("train", "val", "test"):
        write_table(
            tmp_path / "named" / "mr" / f"{split}.csv",
            [(f"{split} 0", "negative"), (f"{split} 1", "positive")],
        )
        write_table(
            tmp_path / "numbered" / "mr" / f"{split}.csv", [(f"{split} 0\n", "0"), (f"{split} 1", "1")]
        )
    named, numbered = (load_dataset("mr", data_dir=tmp_path / folder) for folder in ("named", "numbered"))
    assert numbered.classes == ("negative", "positive")
    assert numbered.fingerprint == named.fingerprint
    assert "differs from the published mr" in named.warnings[0]
    assert str(DATASETS["mr"].fingerprint) in named.warnings[0]


def test_a_published_data_set_that_is_incomplete_or_absent(tmp_path, write_table):
    write_table(tmp_path / "mr" / "train.csv", [("x", "negative")])
    with pytest.raises(DataError, match="lacks val and test of data set 'mr'"):
        load_dataset("mr", data_dir=tmp_path)
    with pytest.raises(DataError, match="gloss-tune datasets fetch r8"):
        load_dataset("r8", data_dir=tmp_path, download=False)
    with pytest.raises(DataError, match=r"data folder .*nowhere does not exist"):
        load_dataset("r8", data_dir=tmp_path / "nowhere")


def test_importing_the_data_package_is_cheap():
    heavy = "torch", "transformers", "tokenizers", "sklearn", "pandas", "pyarrow", "pooch", "requests"
    code = f"import sys, gloss_tune.data; sys.exit(', '.join(set({heavy!r}) & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
