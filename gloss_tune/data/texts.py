"""Reads texts without labels, one after the other, from a file or a stream: CSV, TSV, JSON lines or plain lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gloss_tune.data.dataset import quoted
from gloss_tune.errors import DataError

FORMATS = ("csv", "tsv", "jsonl", "text")
# ``csv`` and plain lines end at any line end; in JSON lines, only a line feed is one
_NEWLINES = {"csv": "", "tsv": "", "jsonl": "\n", "text": None}


def texts_format(path: Path) -> str:
    """The format that a file's ending means; other endings than those of data files mean plain lines.

    Raises:
        DataError: the ending is that of a format which is not read here.
    """
    suffix = path.suffix.lower().removeprefix(".")
    if suffix == "parquet":
        raise DataError(f"Texts are read from CSV, TSV, JSON lines or plain lines, got {path}; convert it")
    return suffix if suffix in FORMATS else "text"


def read_texts(stream: BinaryIO, source: str, format: str, text_column: str = "text") -> Iterator[str]:
    """The texts of a stream in their order, read as they are asked for.

    Args:
        stream: UTF-8, with or without a byte order mark; left open.
        source: its name, for messages.
        format: one of ``FORMATS``. The first line of CSV and TSV names the columns; ``text`` is one text a line.
        text_column: column or key of the texts; not used by ``text``.

    Raises:
        DataError: the stream holds what is no text, with the line that it is on. An empty stream is no fault.
    """
    wrapper = io.TextIOWrapper(
        stream, encoding="utf-8-sig", errors="surrogateescape", newline=_NEWLINES[format]
    )
    try:
        lines = _decoded(wrapper, source)
        records: Iterator[tuple[int, str]]
        if format == "text":
            records = enumerate(lines, start=1)
        elif format == "jsonl":
            records = _json_records(lines, source, text_column)
        else:
            records = _delimited_records(lines, source, "\t" if format == "tsv" else ",", text_column)
        for number, text in records:
            if not text.strip():
                raise DataError(
                    f"Every document needs a text, but line {number} of {source} has none. Fill it in or remove it."
                )
            yield text
    finally:
        if not stream.closed:
            wrapper.detach()


def _decoded(wrapper: io.TextIOWrapper, source: str) -> Iterator[str]:
    for number, line in enumerate(wrapper, start=1):
        # what is no UTF-8 arrives as halves of surrogate pairs, which UTF-8 cannot spell
        bad = next((character for character in line if "\udc80" <= character <= "\udcff"), None)
        if bad is not None:
            raise DataError(
                f"Text files are UTF-8, but line {number} of {source} is not (byte 0x{ord(bad) - 0xDC00:02x}). "
                f"Convert it, for example with: iconv -f LATIN1 -t UTF-8."
            )
        yield line


def _json_records(lines: Iterator[str], source: str, column: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "too deep"
            raise DataError(
                f"Each line of {source} is a JSON object, but line {number} is malformed ({reason}). Mend or "
                "remove it."
            ) from None
        if not isinstance(record, dict):
            raise DataError(
                f'Each line of {source} is a JSON object such as {{"text": …}}, but line {number} is not. Mend or '
                "remove it."
            )
        if column not in record:
            raise _no_column(f"Line {number} of {source}", column, list(record))
        text = record[column]
        if not isinstance(text, str):
            raise DataError(
                f"A text is a string, but {column!r} on line {number} of {source} is {text!r:.60}. Name the column "
                "that holds the texts (--text-column)."
            )
        # JSON can spell half of a surrogate pair, which is no character and which no tokenizer takes
        yield number, text.encode("utf-8", "replace").decode()


def _delimited_records(
    lines: Iterator[str], source: str, delimiter: str, column: str
) -> Iterator[tuple[int, str]]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    begin = 1
    while True:
        try:
            fields = _next_record(reader)
        except csv.Error as error:
            raise DataError(
                f"The record that begins on line {begin} of {source} is malformed ({error}). "
                f"Close every double quote, and double those within a quoted text."
            ) from None
        if fields is None:
            return
        if fields and header is None:
            header = [name.strip() for name in fields]
            if column not in header:
                raise _no_column(source, column, header)
            if header.count(column) > 1:
                raise DataError(
                    f"Column names are unique, but {source} has {column!r} twice. Rename one of them."
                )
        elif fields and header is not None:
            if len(fields) != len(header):
                raise DataError(
                    f"Every record has the header's {len(header)} fields, but the one on line {begin} of {source} has "
                    f"{len(fields)}. Put texts that hold a separator or a line break in double quotes."
                )
            yield begin, fields[header.index(column)]
        begin = reader.line_num + 1


def _next_record(reader: Iterator[list[str]]) -> list[str] | None:
    """One record without csv's limit of 128 KiB a field, which can only be lifted for the whole process."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(limit)


def _no_column(place: str, column: str, present: list[str]) -> DataError:
    return DataError(
        f"{place} has no column {column!r}; it has {quoted(present) or 'none'}. "
        "Name the one that holds the texts (--text-column)."
    )
