"""Texts without labels: every format gives back what was written, and what is no text is named with its line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from gloss_tune.data.texts import FORMATS, read_texts, texts_format
from gloss_tune.errors import DataError

AWKWARD = [
    'Quotes "inside", commas, and\nline breaks\n\n',
    "NA",
    "  Ünïcode — 漢字 \u2028 separator ",
    "word " * 40_000,
]


def read(content: str | bytes, format: str, column: str = "text") -> list[str]:
    raw = content.encode() if isinstance(content, str) else content
    return list(read_texts(io.BytesIO(raw), "f", format, column))


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


def test_byte_order_mark_line_ends_and_blank_lines_between_records() -> None:
    assert read(b"\xef\xbb\xbf\r\nid, text\r\n1,a\r\n\r\n2,b\r\n", "csv") == ["a", "b"]
    assert read(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n{"text": "b"}', "jsonl") == ["a", "b"]
    assert [text.strip() for text in read(b"\xef\xbb\xbfa\r\nb\rc", "text")] == ["a", "b", "c"]


def test_half_a_surrogate_pair_in_json_does_no_harm() -> None:
    assert read('{"text": "a \\ud800 b"}', "jsonl") == ["a ? b"]


@pytest.mark.parametrize(
    ("format", "content", "said"),
    [
        ("text", "a\n\nb\n", "line 2 of f has none"),
        ("text", b"a\nb\n\xff\n", r"line 3 of f is not \(byte 0xff\)"),
        ("csv", "text\n" + 50_000 * "a\n" + '"  "\n', "line 50002 of f has none"),
        ("csv", 'text,n\n"two\nlines",1\n,2\n', "line 4 of f has none"),
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
    texts = read_texts(stream, "f", "text")
    assert [next(texts).strip() for _ in range(10)] == ["a"] * 10
    texts.close()
    assert not stream.closed


def test_the_ending_names_the_format() -> None:
    names = {"a.csv": "csv", "A.TSV": "tsv", "a.jsonl": "jsonl", "a.txt": "text", "a": "text", "a.CSV": "csv"}
    assert {name: texts_format(Path(name)) for name in names} == names
    with pytest.raises(DataError, match="convert it"):
        texts_format(Path("a.parquet"))
