"""One file at a time: what is read as it stands, and what is refused with its place."""

from __future__ import annotations

import builtins
import csv
import json
from pathlib import Path

import pytest

from gloss_tune.data.reading import SUFFIXES, read_documents
from gloss_tune.errors import DataError

AWKWARD = [
    ('Quotes "inside", commas, and\nline breaks\n\n', "a"),
    ("NA", "null"),
    ("1", "1"),
    ("  Ünïcode — 漢字 \u2028 separator ", "nan"),
]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_back_what_was_written(tmp_path, write_table, suffix):
    path = write_table(tmp_path / f"data{suffix}", AWKWARD, ("body", "topic"))
    assert read_documents(path, "body", "topic") == AWKWARD


def test_csv_agrees_with_pandas(tmp_path, write_table):
    pandas = pytest.importorskip("pandas")
    path = write_table(tmp_path / "data.csv", AWKWARD)
    frame = pandas.read_csv(path, dtype=str, keep_default_na=False)
    assert read_documents(path) == list(zip(frame["text"], frame["label"], strict=True))


def test_csv_with_byte_order_mark_index_column_and_blank_lines(tmp_path):
    path = write(tmp_path / "data.csv", b"\xef\xbb\xbf\r\n,text , label\r\n7,good,1\r\n\r\n8,bad,0\r\n")
    assert read_documents(path) == [("good", "1"), ("bad", "0")]


def test_a_very_long_text_is_read_and_the_limit_of_csv_is_as_before(tmp_path, write_table):
    before = csv.field_size_limit()
    path = write_table(tmp_path / "data.csv", [("word " * 100_000, "a")])
    assert len(read_documents(path)[0][0]) == 500_000
    assert csv.field_size_limit() == before


def test_numeric_labels_become_the_same_strings_in_every_format(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"text": ["x", "y"], "label": [1.0, 2.0]}), tmp_path / "floats.parquet")
    parquet.write_table(pyarrow.table({"text": ["x", "y"], "label": [1, 2]}), tmp_path / "whole.parquet")
    files = [
        write(tmp_path / "data.csv", "text,label\nx,1\ny,2\n"),
        write(tmp_path / "data.jsonl", '{"text": "x", "label": 1}\n\n{"text": "y", "label": 2}\n'),
        tmp_path / "floats.parquet",
        tmp_path / "whole.parquet",
    ]
    assert [read_documents(file) for file in files] == [[("x", "1"), ("y", "2")]] * 4


def test_half_a_surrogate_pair_in_json_does_no_harm(tmp_path):
    path = write(tmp_path / "data.jsonl", '{"text": "a \\ud800 b", "label": "x"}')
    assert read_documents(path) == [("a ? b", "x")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("d.csv", "sentence,label\nx,a\n", r"no column 'text'; it has 'sentence', 'label'"),
        ("d.csv", "text;label\nx;a\n", r"no column 'text'; it has 'text;label'"),
        ("d.csv", "text,label,text\nx,a,y\n", r"'text' twice"),
        ("d.csv", 'text,label\n"two\nlines",a\n" ",b\nx,c\n,d\n', r"'text' of .* on lines 4, 6 \(2 in"),
        ("d.csv", "\ntext,label\n,a\n", r"'text' of .* is empty on line 3 \(1 in all\)"),
        ("d.csv", "text,label\nx,a\ny,\n", r"'label' of .* is empty on line 3 \(1 in all\)"),
        ("d.csv", 'text,label\n"two\nlines",a\nx,b,c\n', r"2 fields, but the one on line 4 .* has 3"),
        ("d.csv", "text,label\nx\n", r"2 fields, but the one on line 2 .* has 1"),
        ("d.csv", 'text,label\nx,a\n"never closed,b\ny,c\n', r"begins on line 3 .* malformed"),
        ("d.csv", b"text,label\ngood,a\n\"two\nlines\",b\ncaf\xe9,a\n", r"line 5 of .* is not \(byte 0xe9\)"),
        ("d.jsonl", b'{"text": "x", "label": "a"}\n{"text": "\xff"}', r"line 2 of .* is not \(byte 0xff\)"),
        ("d.csv", "", "is empty"),
        ("d.csv", "text,label\n", "is empty"),
        ("d.jsonl", "\n \n", "is empty"),
        ("d.jsonl", '{"text": "x", "label": "a"}\n{"text": "y", label}\n', r"line 2 is .* \(.*column 15"),
        ("d.jsonl", '["x", "a"]\n', "line 1 is not"),
        ("d.jsonl", '{"text": "x", "label": "a"}\n{"text": "y"}\n', r"Line 2 .* 'label'; it has 'text'"),
        ("d.jsonl", '{"text": null, "label": "a"}\n', "'text' of .* is empty on line 1"),
        ("d.jsonl", '{"text": "x", "label": null}\n', "'label' of .* is empty on line 1"),
        ("d.jsonl", '{"text": 5, "label": "a"}\n', "'text' on line 1 of .* is 5"),
        ("d.jsonl", '{"text": "x", "label": ["a", "b"]}\n', r"line 1 of .* it is \['a', 'b'\]"),
        ("d.sav", "", r"ends in \.csv, \.tsv, \.jsonl, \.parquet"),
        ("d.xlsx", "", r"workbook .*Save its sheet as CSV UTF-8"),
        ("d.parquet", "no Parquet", "not a readable Parquet file"),
    ],
)  # fmt: skip
def test_faults_are_named_with_their_place(tmp_path, name, content, said):
    with pytest.raises(DataError, match=said) as caught:
        read_documents(write(tmp_path / name, content))
    assert str(tmp_path / name) in str(caught.value)
    assert caught.value.exit_code == 2


def test_only_the_first_of_many_places_are_listed(tmp_path):
    path = write(tmp_path / "d.csv", "text,label\n" + ",a\n" * 500)
    with pytest.raises(DataError, match=r"lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, … \(500 in all\)"):
        read_documents(path)


def test_parquet_faults(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(
        pyarrow.table({"text": ["x", None, "z"], "label": [1.0, 2.0, None]}), tmp_path / "d.parquet"
    )
    with pytest.raises(DataError, match=r"'text' of .* is empty on row 2"):
        read_documents(tmp_path / "d.parquet")
    with pytest.raises(DataError, match="no column 'body'; it has 'text', 'label'"):
        read_documents(tmp_path / "d.parquet", "body")
    with pytest.raises(DataError, match=r"'label' on row 1 of .* is 1\.0"):
        read_documents(tmp_path / "d.parquet", "label", "text")


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    real = builtins.__import__

    def no_pyarrow(name, *args, **kwargs):
        if name.split(".")[0] == "pyarrow":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_pyarrow)
    with pytest.raises(DataError, match=r"pip install pyarrow"):
        read_documents(write(tmp_path / "d.parquet", "PAR1"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_documents(tmp_path / "d.csv")


def test_lines_of_json_may_hold_any_separator(tmp_path):
    text = "one\u2028two\u0085three\x1cfour"
    path = write(tmp_path / "d.jsonl", json.dumps({"text": text, "label": "a"}, ensure_ascii=False))
    assert read_documents(path) == [(text, "a")]
