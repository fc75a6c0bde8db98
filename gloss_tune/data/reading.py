"""Reads one file of labelled texts: CSV, TSV, JSON lines or Parquet.

Python's own ``csv`` is used and not pandas: it takes every value as the text that it is (``NA``, ``null``,
``1`` stay themselves), knows the physical line that a record begins on, and never guesses an index column.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

from gloss_tune.data.dataset import Document, quoted
from gloss_tune.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")

Record = tuple[int, str, str]
"""Line (CSV, TSV, JSON lines) or row (Parquet) that the record begins on, from 1; text; label."""


def read_documents(path: Path, text_column: str = "text", label_column: str = "label") -> list[Document]:
    """Reads the texts and labels of one file.

    Args:
        path: a ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` file. The first line of CSV and TSV names the
            columns; texts with line breaks are quoted. Text files are UTF-8, with or without a byte order
            mark.
        text_column: column of the texts.
        label_column: column of the labels; numbers become strings (``1`` and not ``1.0``).

    Returns:
        (text, label) in the file's order, at least one, none of the strings blank.

    Raises:
        DataError: anything that keeps a document from being used, with the lines (or rows) that it is on.
    """
    readers = {
        ".csv": _read_delimited,
        ".tsv": _read_delimited,
        ".jsonl": _read_json_lines,
        ".parquet": _read_parquet,
    }
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise DataError(
            f"A data file ends in {', '.join(SUFFIXES)}; {path} does not. Convert it, or name the right file."
        )
    try:
        records = list(readers[suffix](path, text_column, label_column))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}. Check the path and its rights."
        ) from error
    if not records:
        raise DataError(
            f"A data file holds at least one document, but {path} is empty. Check how it was made."
        )
    unit = "row" if suffix == ".parquet" else "line"
    _refuse_blank(path, unit, text_column, [place for place, text, _ in records if not text.strip()])
    _refuse_blank(path, unit, label_column, [place for place, _, label in records if not label.strip()])
    return [(text, label) for _, text, label in records]


def _refuse_blank(path: Path, unit: str, column: str, places: list[int]) -> None:
    if places:
        shown = ", ".join(map(str, places[:5])) + (" …" if len(places) > 5 else "")
        many = len(places) > 1
        raise DataError(
            f"Every document needs a text and a label, but column {column!r} of {path} is empty on {unit}"
            f"{'s' if many else ''} {shown} ({len(places)} in all). Fill {'them' if many else 'it'} in or "
            f"remove the {unit}{'s' if many else ''}."
        )


def _decode(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"Text files are UTF-8, but line {line} of {path} is not (byte 0x{raw[error.start]:02x}). "
            f"Convert it, for example with: iconv -f LATIN1 -t UTF-8."
        ) from error


def _missing_column(place: str, column: str, present: list[str]) -> DataError:
    return DataError(
        f"{place} has no column {column!r}; it has {quoted(present) or 'none'}. "
        f"Name the columns that hold the text and the label."
    )


def _read_delimited(path: Path, text_column: str, label_column: str) -> Iterator[Record]:
    content = _decode(path)
    reader = csv.reader(
        io.StringIO(content, newline=""),
        delimiter="\t" if path.suffix.lower() == ".tsv" else ",",
        strict=True,
    )
    # csv refuses fields over 128 KiB unless told otherwise, and can only be told for the whole process.
    limit = csv.field_size_limit(2**31 - 1)
    begin = 1
    try:
        header = [name.strip() for name in next(filter(None, reader), [])]
        if not header:
            return
        for column in (text_column, label_column):
            if column not in header:
                raise _missing_column(str(path), column, header)
            if header.count(column) > 1:
                raise DataError(
                    f"Column names are unique, but {path} has {column!r} twice. Rename one of them."
                )
        text_at, label_at = header.index(text_column), header.index(label_column)
        begin = reader.line_num + 1
        for fields in reader:
            if fields and len(fields) != len(header):
                raise DataError(
                    f"Every record has the header's {len(header)} fields, but the one on line {begin} of "
                    f"{path} has {len(fields)}. Put texts that hold a separator or a line break in double "
                    "quotes."
                )
            if fields:
                yield begin, fields[text_at], fields[label_at]
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"The record that begins on line {begin} of {path} is malformed ({error}). "
            f"Close every double quote, and double those within a quoted text."
        ) from error
    finally:
        csv.field_size_limit(limit)


def _read_json_lines(path: Path, text_column: str, label_column: str) -> Iterator[Record]:
    # Not str.splitlines, which also breaks at characters that JSON allows inside a string.
    for number, line in enumerate(_decode(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"Each line of {path} is a JSON object, but line {number} is malformed "
                f"({error.msg}, column {error.colno}). Mend or remove it."
            ) from error
        if not isinstance(record, dict):
            raise DataError(
                f'Each line of {path} is a JSON object such as {{"text": …, "label": …}}, but line '
                f"{number} is not. Mend or remove it."
            )
        for column in (text_column, label_column):
            if column not in record:
                raise _missing_column(f"Line {number} of {path}", column, list(record))
        place = f"line {number} of {path}"
        text = _as_text(record[text_column], place, text_column)
        label = _as_label(record[label_column], place)
        # JSON can spell half of a surrogate pair, which is no character and which no tokenizer takes.
        yield number, text.encode("utf-8", "replace").decode(), label.encode("utf-8", "replace").decode()


def _read_parquet(path: Path, text_column: str, label_column: str) -> Iterator[Record]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            f"{path} needs the package pyarrow, which is not installed. Install it (pip install pyarrow), or "
            f"save the data as CSV."
        ) from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            present = list(file.schema_arrow.names)
            for column in (text_column, label_column):
                if column not in present:
                    raise _missing_column(str(path), column, present)
            columns = file.read(columns=[text_column, label_column])
            texts, labels = columns[text_column].to_pylist(), columns[label_column].to_pylist()
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is not a readable Parquet file ({error}). Check how it was made.") from error
    for number, (text, label) in enumerate(zip(texts, labels, strict=True), start=1):
        place = f"row {number} of {path}"
        yield number, _as_text(text, place, text_column), _as_label(label, place)


def _as_text(value: object, place: str, column: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(
            f"A text is a string, but {column!r} on {place} is {value!r:.60}. Name the column that holds the "
            "texts."
        )
    return value


def _as_label(value: object, place: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    # A column of whole numbers with a gap in it arrives as floats.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (str, int, float)):
        return str(value)
    raise DataError(
        f"A label is a string or a number, but on {place} it is {value!r:.60}. Give each one label."
    )
