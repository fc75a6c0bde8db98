"""Texts without labels: every format gives back what was written, and what is no text is named with its line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from gloss_tune.data.records import Layout
from gloss_tune.data.texts import read_texts, survey_texts
from gloss_tune.errors import DataError

FORMATS = ("csv", "tsv", "jsonl", "text")
AWKWARD = [
    'Quotes "inside", commas, and\nline breaks\n\n',
    "NA",
    "  Ünïcode — 漢字 \u2028 separator ",
    "word " * 40_000,
]


def read(content: str | bytes, format: str | None = None, column: str = "text") -> list[str | None]:
    raw = content.encode() if isinstance(content, str) else content
    return [record.text for record in read_texts(io.BytesIO(raw), "f", column, Layout(format))]


def written(texts: list[str], format: str) -> str:
    if format == "text":
        return "".join(f"{text}\n" for text in texts)
    if format == "jsonl":
        return "".join(json.dumps({"id": 1, "body": text}, ensure_ascii=False) + "\n" for text in texts)
    table = io.StringIO(newline="")
    rows = [["id", "body"], *(["1", text] for text in texts)]
    csv.writer(table, delimiter="\t" if format == "tsv" else ",").writerows(rows)
    return table.getvalue()


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_back_what_was_written(format: str) -> None:
    texts = [text for text in AWKWARD if format != "text" or "\n" not in text]
    limit = csv.field_size_limit()
    found = read(written(texts, format), format, "body")
    assert [text.rstrip("\n") for text in found] == [text.rstrip("\n") for text in texts]
    assert format == "text" or found == texts
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_in_nothing_out(format: str) -> None:
    assert read("", format) == []
    assert read(b"\xef\xbb\xbf", format) == []


def test_a_table_without_rows_is_no_fault() -> None:
    assert read("text,label\n", "csv") == []


def test_byte_order_mark_and_line_ends() -> None:
    assert read(b"\xef\xbb\xbf\r\nid, text\r\n1,a\r\n2,b\r\n\r\n", "csv") == ["a", "b"]
    assert read(b'\xef\xbb\xbf{"text": "a"}\r\n{"text": "b"}', "jsonl") == ["a", "b"]
    assert read(b"\xef\xbb\xbfa\r\nb\rc", "text") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("format", "content", "texts"),
    [
        ("csv", "text,n\na,1\n\n,2\nb,3\n\n\n", ["a", None, None, "b"]),
        ("csv", "text\na\n\nb\n\n", ["a", None, "b", None]),
        ("tsv", "n\ttext\n1\ta\n\n2\t\n3\tb\n", ["a", None, None, "b"]),
        ("jsonl", '{"text": "a"}\n\n{"text": null}\n{"text": " "}\n{"text": "b"}\n\n', ["a", None, None, None, "b"]),
        ("json", '[{"text": "a"}, {"text": NaN}, {"text": "b"}]', ["a", None, "b"]),
        ("text", "a\n\n \nb\n\n", ["a", None, None, "b", None]),
    ],
)  # fmt: skip
def test_a_record_without_a_text_keeps_its_row(format: str, content: str, texts: list[str | None]) -> None:
    assert read(content, format) == texts


def test_half_a_surrogate_pair_in_json_does_no_harm() -> None:
    assert read('{"text": "a \\ud800 b"}', "jsonl") == ["a ? b"]


@pytest.mark.parametrize(
    ("format", "content", "said"),
    [
        ("text", b"a\nb\n\xff\n", r"line 3 of f is not \(byte 0xff\)"),
        ("csv", "body\na\n", "f has no column 'text'; it has 'body'"),
        ("csv", "text,text\na,b\n", "'text' twice"),
        ("csv", "text,n\na,1\nb\n", "header's 2 fields, but the one on line 3 of f has 1"),
        ("csv", 'text\na\n"b', "line 3 of f is malformed"),
        ("csv", b"text\na\ngr\xfc\xdf\n", "line 3 of f is not"),
        ("jsonl", '{"text": "a"}\n{"text": \n', "line 2 is malformed"),
        ("jsonl", '{"text": "a"}\n["a"]\n', "line 2 is not"),
        ("jsonl", '{"body": "a"}\n', "Line 1 of f has no column 'text'; it has 'body'"),
        ("jsonl", '{"text": "a"}\n{"text": 7}\n', "on line 2 of f is 7"),
        ("jsonl", "[" * 100_000, "line 1 is malformed"),
    ],
)
def test_what_is_no_text_is_named_with_its_line(format: str, content: str | bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(content, format)


def test_texts_come_before_the_stream_ends_and_it_stays_open() -> None:
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:
            buffer[:2] = b"a\n"
            return 2

    stream = io.BufferedReader(Endless())
    texts = read_texts(stream, "f")
    assert [next(texts).text for _ in range(10)] == ["a"] * 10
    texts.close()
    assert not stream.closed


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("a.csv", "text\na\n", ["a"]),
        ("A.TSV", "text\ta\nx\ty\n", ["x"]),
        ("a.tab", "n\ttext\nx\ty\n", ["y"]),
        ("a.jsonl", '{"text": "a"}\n', ["a"]),
        ("a.ndjson", '{"text": "a"}\n', ["a"]),
        ("a.json", '[{"text": "a"}, {"text": "b"}]', ["a", "b"]),
        ("a.json", '{"text": "a"}\n{"text": "b"}\n', ["a", "b"]),
        ("a.txt", "a, b\ntext\n", ["a, b", "text"]),
        ("a.txt", "id\ttext\n1\ta\n", ["a"]),
        ("a", "text,id\na,1\n", ["a"]),
        ("a", 'He said "{}"\n', ['He said "{}"']),
    ],
)
def test_what_a_file_is(tmp_path: Path, name: str, content: str, texts: list[str]) -> None:
    (tmp_path / name).write_text(content)
    assert [record.text for record in read_texts(tmp_path / name, name)] == texts
    assert survey_texts(tmp_path / name, name)[0] == len(texts)
