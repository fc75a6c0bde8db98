"""The one reader of files: for data sets with labels, and for texts to classify."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path, PurePath
from typing import BinaryIO

from gloss_tune.data.delimited import read_csv, read_tsv
from gloss_tune.data.encoding import decoded_lines, encoding_of
from gloss_tune.data.objects import read_json
from gloss_tune.data.opening import bare_suffix, is_packed, open_data, unreadable
from gloss_tune.data.parquet import BEGIN, read_parquet
from gloss_tune.data.records import Layout, Record, Table, columns_of
from gloss_tune.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
"""Endings that are named to people; the others below mean the same."""

_FORMATS = {
    **dict.fromkeys([".csv"], "csv"),
    **dict.fromkeys([".tsv", ".tab"], "tsv"),
    **dict.fromkeys([".jsonl", ".ndjson", ".json"], "jsonl"),
    **dict.fromkeys([".parquet", ".pq", ".arrow", ".feather"], "parquet"),
}
DATA_SUFFIXES = tuple(_FORMATS)
_HEAD_CHARACTERS = 1 << 20


@contextlib.contextmanager
def open_table(
    file: Path | BinaryIO,
    name: str,
    asked: Sequence[str],
    layout: Layout | None = None,
    *,
    every_column: bool = False,
    plain_lines: bool = False,
) -> Iterator[Table]:
    """A file or stream as a table of records.

    Args:
        file: a path, or a stream, which is left open.
        name: for messages.
        asked: the columns that the user names; ``title,body`` are two.
        layout: what the user says of the file.
        every_column: whether records need all their columns, or only those asked for.
        plain_lines: whether a file that is no table is one text a line, in the column ``text``; else it is refused.

    Raises:
        DataError: it cannot be read, now or while the records are walked through.
    """
    layout = layout or Layout()
    wanted = [column for part in asked for column in columns_of(part, None)]
    with open_data(file, name) as (head, stream):
        format = _format(file, name, head, layout, wanted, plain_lines=plain_lines)
        if format == "parquet":
            packed = not isinstance(file, Path) or is_packed(file) or not head.startswith(BEGIN)
            source = stream.read() if packed else file
            table = read_parquet(source, head, name, None if every_column else asked)
        else:
            table = _text_table(format, stream, head, name, layout, wanted, whole=isinstance(file, Path))
        with contextlib.closing(_guarded(table.records, name)) as records:
            table.records = records
            yield table


def _text_table(
    format: str, stream: io.BufferedReader, head: bytes, name: str, layout: Layout, wanted: list[str], *, whole: bool
) -> Table:  # fmt: skip
    encoding = encoding_of(head, layout.encoding)
    newline = "\n" if format in ("jsonl", "json") else None if format == "text" else ""
    lines = decoded_lines(stream, name, encoding, newline, whole=whole)
    seen = _decoded(head, encoding)
    if format == "text":
        texts = (Record(number, {"text": line.rstrip("\n")}) for number, line in enumerate(lines, start=1))
        return Table(name, "text", "line", None, texts)
    if format in ("jsonl", "json"):
        return read_json(lines, name, wanted)
    if (layout.separator or {"tsv": "\t"}.get(format)) == "\t":
        return read_tsv(lines, name, header=layout.header, head=seen, wanted=wanted)
    return read_csv(lines, name, layout.separator or ",", header=layout.header, head=seen, wanted=wanted)


def _format(
    file: Path | BinaryIO, name: str, head: bytes, layout: Layout, wanted: list[str], *, plain_lines: bool
) -> str:
    if layout.format is not None:
        return layout.format
    if head.startswith(BEGIN):
        return "parquet"
    suffix = bare_suffix(PurePath(name)) if isinstance(file, Path) else ""
    if suffix in _FORMATS:
        return _FORMATS[suffix]
    found = _sniffed(_decoded(head, encoding_of(head, layout.encoding)), layout, wanted)
    if found is not None:
        return found
    if not plain_lines:
        raise DataError(
            f"A data file ends in {', '.join(SUFFIXES)}; {name} does not. Convert it, or name the right file."
        )
    if head.count(0) and encoding_of(head, layout.encoding).startswith("utf-8"):
        raise DataError(
            f"{name} is no text (it holds bytes of value 0). Name a file of texts, or say what it is with "
            "--input-format and --encoding."
        )
    return "text"


def _sniffed(head: str, layout: Layout, wanted: list[str]) -> str | None:
    """What the first line shows; None if it could as well be a line of plain text."""
    start = head.lstrip()
    if re.match(r'(\[\s*)?\{\s*["}]', start) or re.match(r"\[\s*\]\s*$", start):
        return "jsonl"
    if layout.separator is not None:
        return "tsv" if layout.separator == "\t" else "csv"
    line = next((line for line in start.splitlines() if line.strip()), "")
    for separator, format in (("\t", "tsv"), (",", "csv"), (";", "csv"), ("|", "csv")):
        names = [field.strip().strip('"') for field in line.split(separator)]
        if wanted and set(wanted) <= set(names) and (layout.header or len(names) > 1):
            return format
    return None


def _decoded(head: bytes, encoding: str) -> str:
    return head.decode(encoding, "ignore")[:_HEAD_CHARACTERS].lstrip("\ufeff")


def _guarded(records: Iterator[Record], name: str) -> Generator[Record, None, None]:
    """The records; what a decompressor or a disk says while they are read is said as of a file that is not there."""
    import lzma
    import zlib

    try:
        yield from records
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise unreadable(name, error) from None
