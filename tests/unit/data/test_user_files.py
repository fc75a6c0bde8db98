"""Files as users have them: read right, or refused with what is wrong and a next step that works."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gloss_tune.data import Layout, load_dataset
from gloss_tune.data.labels import label_of
from gloss_tune.data.reading import read_documents, read_labelled
from gloss_tune.errors import DataError

TWO = [("good", "pos"), ("bad", "neg")]
CSV = "text,label\ngood,pos\nbad,neg\n"


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(path: Path, **how: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_labelled(path, **how)
    return str(caught.value)


# ── formats and packing ──


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.tab", "text\tlabel\ngood\tpos\nbad\tneg\n"),
        ("d.txt", "id\ttext\tlabel\n1\tgood\tpos\n2\tbad\tneg\n"),
        ("d.ndjson", '{"text": "good", "label": "pos"}\n{"text": "bad", "label": "neg"}\n'),
        ("d.json", '{"text": "good", "label": "pos"}\n{"text": "bad", "label": "neg"}\n'),
        ("d.json", '[{"text": "good", "label": "pos"},\n {"text": "bad", "label": "neg"}]'),
        ("d.json", '{\n"text": "good", "label": "pos"}\n{\n"text": "bad", "label": "neg"}'),
        ("d.json", '{"text": {"0": "good", "1": "bad"}, "label": {"0": "pos", "1": "neg"}}'),
        ("d.json", '{"text": ["good", "bad"], "label": ["pos", "neg"]}'),
        ("d.json", '{"version": 1, "data": [{"text": "good", "label": "pos"}, {"text": "bad", "label": "neg"}]}'),
        ("d.json", '{"columns": ["text", "label"], "index": [0, 1], "data": [["good", "pos"], ["bad", "neg"]]}'),
        ("d.json", '{"rows": [{"row_idx": 0, "row": {"text": "good", "label": "pos"}},'
                   ' {"row_idx": 1, "row": {"text": "bad", "label": "neg"}}]}'),
        ("doccano.jsonl", '{"id": 1, "text": "good", "label": ["pos"]}\n{"id": 2, "text": "bad", "label": ["neg"]}\n'),
        ("doccano.jsonl", '{"text": "good", "annotations": [{"label": "pos", "user": 1}]}\n'
                          '{"text": "bad", "annotations": [{"label": "neg", "user": 1}]}\n'),
        ("studio.json", json.dumps([
            {"id": n, "data": {"text": text}, "annotations": [{"was_cancelled": False, "result": [
                {"from_name": "sentiment", "to_name": "text", "type": "choices", "value": {"choices": [label]}}]}]}
            for n, (text, label) in enumerate(TWO)])),
        ("d.csv", '"text", "label"\n"good", "pos"\n"bad", "neg"\n'),
        ("d.csv", "sep=;\ntext;label\ngood;pos\nbad;neg\n"),
        ("d.csv", CSV.encode("utf-16")),
        ("d.csv", CSV.encode("utf-16-le")),
        ("d.csv", CSV.encode("utf-32")),
        ("d.csv", gzip.compress(CSV.encode(), mtime=0)),
        ("d.csv.gz", CSV),
        ("D.CSV.XZ", lzma.compress(CSV.encode())),
    ],
)  # fmt: skip
def test_two_documents_in_any_clothes(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert read_documents(write(tmp_path / name, content)) == TWO


def test_zip_and_zstandard(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.csv.zip", "w") as archive:
        archive.writestr("folder/d.csv", CSV)
    assert read_documents(tmp_path / "d.csv.zip") == TWO
    pyarrow = pytest.importorskip("pyarrow")
    with pyarrow.CompressedOutputStream(str(tmp_path / "d.csv.zst"), "zstd") as file:
        file.write(CSV.encode())
    assert read_documents(tmp_path / "d.csv.zst") == TWO


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("d.xlsx", b"PK\x03\x04", "workbook"),
        ("d.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "Save its sheet as CSV UTF-8"),
        ("d.csv.gz", gzip.compress(CSV.encode() * 99, mtime=0)[:-20], "cannot be read: .*It is damaged"),
        ("d.tar", b"\0" * 257 + b"ustar" + b"\0" * 300, r"archive \(tar\)"),
        ("d.txt", "just\nlines\n", "A data file ends in"),
        ("d.json", "[1, 2, 3]", "line 1 is not"),
        ("d.json", '{"text": "good"', "malformed"),
        ("d.jsonl", '{"text": ' + "[" * 100_000, r"malformed \(nested too deep\)"),
        ("d.jsonl", '{"text": "a", "label": "b", "n": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deep"),
        ("d.jsonl", "{}\n", "number 1 is empty"),
        ("studio.json", '[{"data": {"text": "a"}, "annotations": []}]', "no column 'label'"),
    ],
)  # fmt: skip
def test_what_is_no_data_file_is_told_so(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    import re

    assert re.search(said, refused(write(tmp_path / name, content)))


def test_a_number_of_many_digits_is_text(tmp_path: Path) -> None:
    digits = "9" * 5_000
    path = write(tmp_path / "d.jsonl", f'{{"text": "a", "n": {digits}, "label": {digits}}}\n')
    assert read_documents(path) == [("a", digits)]


def test_a_zip_of_several_files_and_a_workbook_without_its_ending(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("train.csv", CSV)
        archive.writestr("test.csv", CSV)
    assert "has 'train.csv', 'test.csv'. Unpack it" in refused(tmp_path / "d.zip")
    with zipfile.ZipFile(tmp_path / "d.csv", "w") as archive:
        archive.writestr("[Content_Types].xml", "")
    assert "workbook" in refused(tmp_path / "d.csv")


def test_two_columns_of_one_name_in_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.Table.from_arrays([["a"], ["b"], ["c"]], names=["text", "text", "label"])
    parquet.write_table(table, tmp_path / "d.parquet")
    assert "'text' twice" in refused(tmp_path / "d.parquet")


# ── encodings ──


@pytest.mark.parametrize("text", ["café – “so”", "naïve"])
def test_the_advice_for_windows_files_works_when_followed(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "d.csv", f"text,label\nplain,a\n{text},b\n".encode("cp1252"))
    said = refused(path)
    assert "line 3" in said
    assert "add --encoding cp1252" in said
    assert "iconv -f CP1252 -t UTF-8" in said
    assert text[2:6] in said  # what it reads as, for people to judge
    right = [("plain", "a"), (text, "b")]
    assert read_labelled(path, layout=Layout(encoding="cp1252")).documents == right
    done = subprocess.run(
        ["iconv", "-f", "CP1252", "-t", "UTF-8", str(path)], capture_output=True, check=True
    )
    assert read_documents(write(tmp_path / "utf8.csv", done.stdout)) == right


def test_a_file_of_two_encodings_is_not_given_one(tmp_path: Path) -> None:
    rows = [b"text,label\n", "schön,a\n".encode(), "schön,b\n".encode("cp1252"), b"ok,b\n"]
    said = refused(write(tmp_path / "d.csv", b"".join(rows)))
    assert "line 3" in said
    assert "no one encoding is right" in said
    assert "--encoding" not in said


def test_all_lines_of_another_encoding_are_counted(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "d.csv", b"text,label\n" + b"caf\xe9,a\n" * 40))
    assert "line 2" in said
    assert "lines 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, … (39 in all)" in said


@pytest.mark.parametrize(
    ("encoding", "said"), [("cp1252", "near line"), ("hex", "Give for example"), ("klingon", "got 'klingon'")]
)
def test_an_encoding_that_is_not_it(tmp_path: Path, encoding: str, said: str) -> None:
    path = write(tmp_path / "d.csv", b"text,label\n\x81,a\n")
    assert said in refused(path, layout=Layout(encoding=encoding))


# ── columns, header and separator ──


@pytest.mark.parametrize(
    ("name", "content", "advice", "layout"),
    [
        ("d.csv", "text;label\ngood;pos\nbad;neg\n", "--separator ';'", {"separator": ";"}),
        ("d.csv", "text\tlabel\ngood\tpos\nbad\tneg\n", "--separator 'tab'", {"separator": "tab"}),
        ("d.tsv", "text,label\ngood,pos\nbad,neg\n", "--separator ','", {"separator": ","}),
        ("d.csv", "text|label\ngood|pos\nbad|neg\n", "--separator '|'", {"separator": "|"}),
        ("d.csv", "good,pos\nbad,neg\n", "--no-header", {"header": False}),
    ],
)  # fmt: skip
def test_the_advice_for_a_missing_column_works_when_followed(
    tmp_path: Path, name: str, content: str, advice: str, layout: dict[str, Any]
) -> None:
    path = write(tmp_path / name, content)
    assert advice in refused(path)
    assert read_labelled(path, layout=Layout(**layout)).documents == TWO


def test_a_table_without_an_ending_is_not_taken_for_lines(tmp_path: Path) -> None:
    from gloss_tune.data.texts import survey_texts

    with pytest.raises(DataError, match="--separator ';'"):
        survey_texts(write(tmp_path / "d", "id;text\n1;good\n"), "d")


def test_no_header_of_more_columns_is_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "3,good,pos\n4,bad,neg\n")
    assert read_labelled(path, "2", "3", Layout(header=False)).documents == TWO
    assert "it has '1', '2', '3'" in refused(path, layout=Layout(header=False))


def test_no_document_is_printed_whole(tmp_path: Path) -> None:
    secret = "a very private document that goes on " * 30
    said = refused(write(tmp_path / "d.csv", f"{secret},pos\n{secret}2,pos\n"))
    assert len(said) < 500
    assert "looks like a record" in said


@pytest.mark.parametrize("separator", ["", ";;", '"', "\n"])
def test_separators_that_cannot_be(separator: str) -> None:
    with pytest.raises(DataError, match="one character"):
        Layout(separator=separator)


def test_several_columns_of_text_are_joined(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", 'title,body,label,"a,b"\nA,one,x,7\n,two,y,8\n')
    found = read_labelled(path, "title,body")
    assert found.documents == [("A\none", "x"), ("two", "y")]
    assert found.columns == ("title", "body", "label")
    assert read_labelled(path, "a,b").documents == [("7", "x"), ("8", "y")]
    assert "no column 'boddy'" in refused(path, text_column="title,boddy")


# ── bad lines ──


def test_ten_bad_lines_and_their_count_are_told_at_once(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "d.csv", "text,label\ngood,pos\n" + "bad\n" * 12 + "a,b,c\n"))
    assert "13 records" in said
    assert "lines 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, … (13 in all)" in said
    assert "has 1." in said
    said = refused(write(tmp_path / "d.jsonl", '{"text": "a", "label": "b"}\nx\n[1]\n{"text": "a"}\n'))
    assert "lines 2, 3, 4" in said


def test_copies_and_swapped_columns_are_told_from_too_few_documents(tmp_path: Path) -> None:
    for content, said in (
        ("good,pos\nbad,neg\n", "2 documents have as many different labels. Add documents"),
        ("pos,good\nneg,bad\npos,fine\nneg,dull\n", "Are the columns of texts and labels swapped"),
        (
            "good,pos\ngood,pos\nbad,neg\nbad,neg\n",
            "each of its 2 texts occurs more than once, among 4 documents",
        ),
    ):
        with pytest.raises(DataError) as caught:
            load_dataset(write(tmp_path / "d.csv", "text,label\n" + content))
        assert said in str(caught.value)


# ── labels ──


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (1, "1"), (1.0, "1"), ("1", "1"), ("1.0", "1"), (" 1.00 ", "1"), ("-2.0", "-2"),
        ("-0.0", "0"), (-0.0, "0"), (0.5, "0.5"), ("0.5", "0.5"),
        ("1.10", "1.10"), ("v1.0", "v1.0"), ("01", "01"), (None, ""), (float("nan"), ""), (True, "True"),
        ("pos\u200b", "pos"), ("\ufeffpos", "pos"), ("\xa0pos ", "pos"), (' "pos"', "pos"), ('"', '"'),
        ("a\u200db", "a\u200db"),
        (["pos"], "pos"), ([], ""),
    ],
)  # fmt: skip
def test_one_rule_for_labels(value: Any, label: str) -> None:
    assert label_of(value) == label
    assert isinstance(value, list) or label_of([value]) == label


@pytest.mark.parametrize("value", [["a", "b"], {"a": 1}, b"a"])
def test_what_is_no_label(value: Any) -> None:
    with pytest.raises(ValueError, match="a"):
        label_of(value)


def test_spellings_of_a_class_are_told(tmp_path: Path) -> None:
    found = read_labelled(write(tmp_path / "d.csv", "text,label\na,1\nb,1.0\nc,2\nd, 2\n"))
    assert [label for _, label in found.documents] == ["1", "1", "2", "2"]
    assert found.notes == ("d.csv: labels '1', '1.0' are one class, '1'.",)


# ── folders ──


ROWS = "text,label\n" + "".join(f"document {n},{'ab'[n % 2]}\n" for n in range(20))
OTHER = "text,label\nother 1,a\nother 2,b\n"


@pytest.mark.parametrize(
    "names",
    [
        ("train.csv", "val.csv.gz", "test.csv.gz"),
        ("Train.csv", "dev.csv", "TEST.CSV"),
        ("training.csv", "valid.csv", "testing.csv"),
        ("train.csv", "validation.csv", "test.csv"),
        ("imdb_train.csv", "imdb_dev.csv", "imdb_test.csv"),
        ("data/train.csv", "data/val.csv", "data/test.csv"),
        ("a/train-00000-of-00001.csv", "a/validation-00000-of-00001.csv", "a/test-00000-of-00001-ab1.csv"),
        ("train/0000.csv", "validation/0000.csv", "test/0000.csv"),
        ("train-00000-of-00002.csv", "val.csv", "test.csv"),
    ],
)  # fmt: skip
def test_usual_names_of_splits(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = tmp_path / "mine"
    for name, content in zip(names, (ROWS, OTHER, OTHER), strict=True):
        write(folder / name, gzip.compress(content.encode()) if name.endswith("gz") else content)
    if "of-00002" in names[0]:
        write(folder / "train-00001-of-00002.csv", ROWS.replace("document", "more"))
    found = load_dataset(folder)
    assert found.test is not None
    assert (len(found.train), len(found.val), len(found.test)) == (40 if "of-00002" in names[0] else 20, 2, 2)
    assert not found.reading.held_out


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("train.csv", "val.csv", "dev.csv"), "has 'dev.csv', 'val.csv'. Keep one"),
        (("train.csv", "train.csv.gz"), "Keep one"),
        (("train.csv", "eval.csv"), "'eval.csv' .*may mean val or test"),
        (("train-00000-of-00003.csv", "train-00002-of-00003.csv"), "number 1 is missing"),
        (("a/train.csv", "b/train.csv"), "there are 'a', 'b'. Name one"),
        (("train/x.csv", "train/y.csv"), "number the parts"),
        (("test.csv",), "it has 'test.csv'"),
        (("reviews.csv", "notes.md"), "it has 'notes.md', 'reviews.csv'"),
        (("train.xlsx",), "workbook"),
        ((), "it has nothing"),
    ],
)  # fmt: skip
def test_unclear_folders_are_refused_with_what_lies_there(
    tmp_path: Path, names: tuple[str, ...], said: str
) -> None:
    (tmp_path / "mine").mkdir()
    for name in names:
        write(tmp_path / "mine" / name, ROWS)
    with pytest.raises(DataError, match=said):
        load_dataset(tmp_path / "mine")


def test_a_folder_that_the_library_datasets_wrote(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
    )
    parts = {
        name: datasets.Dataset.from_dict(
            {"text": [f"{name} {n}" for n in range(6)], "label": [n % 2 for n in range(6)]}, features=features
        )
        for name in ("train", "validation", "unsupervised")
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "all"))
    parts["train"].save_to_disk(str(tmp_path / "one"))
    whole = load_dataset(tmp_path / "all")
    assert (whole.classes, len(whole.train), len(whole.val)) == (("neg", "pos"), 6, 6)
    assert "also has 'unsupervised'" in whole.warnings[0]
    one = load_dataset(tmp_path / "one")
    assert (len(one.train), len(one.val), one.reading.held_out) == (4, 2, True)


# ── names and paths ──


def test_a_mistyped_path_finds_no_other_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "data" / "mine" / "train.csv", ROWS)
    write(tmp_path / "reviews.csv", ROWS)
    monkeypatch.chdir(tmp_path)
    for asked in ("nothere/mine", "./mine", str(tmp_path / "nothere" / "mine"), "../mine"):
        with pytest.raises(DataError) as caught:
            load_dataset(asked, data_dir=tmp_path / "data")
        assert repr(asked) in str(caught.value)
    with pytest.raises(DataError, match=r"Did you mean '.*reviews\.csv'"):
        load_dataset(str(tmp_path / "review.csv"))
    assert load_dataset("mine", data_dir=tmp_path / "data").name == "mine"


def test_a_path_wins_over_the_name_of_a_known_data_set_and_a_bare_name_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "r8" / "train.csv", ROWS)
    monkeypatch.chdir(tmp_path)
    for own in ("./r8", Path("r8"), str(tmp_path / "r8")):
        assert load_dataset(own).classes == ("a", "b")
    with caplog.at_level("WARNING"), pytest.raises(DataError, match="not on this machine"):
        load_dataset("r8", download=False)
    assert "write ./r8 to have your own" in caplog.text


# ── splits told by a column, classes told by folders ──


@pytest.mark.parametrize("column", ["split", "Split"])
def test_a_column_of_splits_is_followed(tmp_path: Path, column: str) -> None:
    words = ["train"] * 8 + ["Validation"] * 4 + ["test"] * 2 + ["unsupervised"] * 3
    rows = [{"text": f"document {n}", "label": "ab"[n % 2], column: word} for n, word in enumerate(words)]
    write(tmp_path / "d.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    table = f"text,label,{column}\n" + "".join(",".join(row.values()) + "\n" for row in rows)
    write(tmp_path / "d.csv", table)
    paths = [tmp_path / "d.jsonl", tmp_path / "d.csv"]
    try:
        import pandas
        import pyarrow  # noqa: F401
    except ImportError:
        pass
    else:
        pandas.DataFrame(rows).to_parquet(tmp_path / "d.parquet")
        paths.append(tmp_path / "d.parquet")
    for path in paths:
        found = load_dataset(path)
        assert found.test is not None
        assert (len(found.train), len(found.val), len(found.test)) == (8, 4, 2)
        assert not found.reading.held_out
        assert found.warnings == (f"{path.name}: 3 documents of the split 'unsupervised' are left out.",)
    assert len(load_dataset(tmp_path / "d.csv", as_before=True).train) == 15


@pytest.mark.parametrize("words", [("1", "2"), ("test", "val")])
def test_a_column_split_without_train_is_another(tmp_path: Path, words: tuple[str, str]) -> None:
    rows = [f"document {n},{'ab'[n % 2]},{words[n % 3 == 0]}" for n in range(20)]
    found = load_dataset(write(tmp_path / "d.csv", "\n".join(["text,label,split", *rows])))
    assert (len(found.train), found.reading.held_out) == (18, True)
    assert load_dataset(tmp_path / "d.csv", label_column="split").classes == tuple(sorted(words))


def write_classes(folder: Path, number: int, ending: str = ".txt") -> None:
    for label in ("neg", "pos"):
        for n in range(number):
            write(folder / label / f"{n}{ending}", f"{folder.name} {label}\nreview {n}")


@pytest.mark.parametrize("ending", [".txt", ""])
def test_folders_of_classes(tmp_path: Path, ending: str) -> None:
    write_classes(tmp_path / "imdb" / "train", 10, ending)
    write_classes(tmp_path / "imdb" / "test", 3, ending)
    write(tmp_path / "imdb" / "train" / "unsup" / "0.txt", "of no class")
    write(tmp_path / "imdb" / "train" / "urls_pos.txt", "http://one")
    write(tmp_path / "imdb" / "README", "about")
    found = load_dataset(tmp_path / "imdb")
    assert found.test is not None
    assert (found.classes, len(found.train), len(found.val), len(found.test)) == (("neg", "pos"), 18, 2, 6)
    assert "train neg\nreview 0" in (*found.train.texts, *found.val.texts)
    assert found.warnings == ("train: 'unsup' has no labels and is left out (1 text).",)
    alone = load_dataset(tmp_path / "imdb" / "test")
    assert (alone.classes, len(alone.train), len(alone.val), alone.test) == (("neg", "pos"), 4, 2, None)
    write(tmp_path / "imdb" / "test" / "pos" / "7.txt", "café".encode("cp1252"))
    with pytest.raises(DataError, match=r"1 file is not text of its encoding.*7\.txt.*--encoding cp1252"):
        load_dataset(tmp_path / "imdb")
    found = load_dataset(tmp_path / "imdb" / "test", layout=Layout(encoding="cp1252"))
    assert "café" in (*found.train.texts, *found.val.texts)


def test_folders_of_classes_that_are_unclear(tmp_path: Path) -> None:
    write_classes(tmp_path / "a" / "train", 4)
    write(tmp_path / "a" / "val.csv", ROWS)
    with pytest.raises(DataError, match=r"has 'val\.csv' beside 'train/'"):
        load_dataset(tmp_path / "a")
    write_classes(tmp_path / "b" / "train", 4)
    write_classes(tmp_path / "b" / "training", 4)
    with pytest.raises(DataError, match="has 'train', 'training'"):
        load_dataset(tmp_path / "b")
    write_classes(tmp_path / "c", 4)
    write(tmp_path / "c" / "pos" / "9.txt", " \n")
    with pytest.raises(DataError, match=r"1 file is empty: .*9\.txt"):
        load_dataset(tmp_path / "c")


# ── places that give nothing to read ──


def test_no_file_called_after_a_split_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "a" / "train.csv", ROWS)
    write(tmp_path / "a" / "val.pkl", b"\x80\x04")
    with pytest.raises(DataError, match=r"'.*val\.pkl' has not"):
        load_dataset(tmp_path / "a")
    assert load_dataset(tmp_path / "a", as_before=True).reading.held_out
    write(tmp_path / "b" / "train.csv", ROWS)
    (tmp_path / "b" / "val.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"val\.csv cannot be read: No such file"):
        load_dataset(tmp_path / "b")
    write(tmp_path / "c" / "train.csv", ROWS)
    write(tmp_path / "c" / "test" / "test_code.py", "")
    assert "also has 'test'" in load_dataset(tmp_path / "c").warnings[0]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("https://example.org/d.csv", "Download it, and name the file"),
        ("~nobody-of-this-name/d.csv", "Check the path"),
        ("data/*.csv", "A pattern is not expanded"),
        ("x" * 300, "is neither"),
        ("data\\d.csv", "Did you mean 'data/d.csv'"),
    ],
)
def test_what_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data" / "d.csv", ROWS)
    with pytest.raises(DataError) as caught:
        load_dataset(asked)
    assert said in str(caught.value)


def test_a_pipe_is_no_data_set_and_a_closed_folder_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is a pipe or a device"):
        load_dataset(tmp_path / "pipe")
    (tmp_path / "closed").mkdir()

    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match=r"closed cannot be read: Permission denied\. Check the path"):
        load_dataset(tmp_path / "closed")


def test_labels_that_look_the_same_and_labels_that_are_lists_are_told(tmp_path: Path) -> None:
    from gloss_tune.data.account import doubts

    labels = ["café", "cafe\u0301", "['pos']", "['neg']"]
    rows = [f'document {n},"{labels[n % 4]}"' for n in range(40)]
    said = " ".join(doubts(load_dataset(write(tmp_path / "d.csv", "\n".join(["text,label", *rows])))))
    assert "or look the same: are they one?" in said
    assert "2 classes are written as lists: \"['neg']\"" in said
