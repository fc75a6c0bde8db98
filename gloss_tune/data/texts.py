"""Reads texts to classify, one after the other, from a file or a stream: always one for each record that it has."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from gloss_tune.data.reader import open_table
from gloss_tune.data.reading import lacking, refuse_faults, text_of
from gloss_tune.data.records import FORMATS, Layout, Record, Table, columns_of
from gloss_tune.errors import DataError

__all__ = ["FORMATS", "TextRecord", "read_texts", "survey_texts"]

_log = logging.getLogger(__name__)
_NAMES = {
    "csv": "CSV",
    "tsv": "TSV",
    "jsonl": "JSON lines",
    "json": "JSON",
    "parquet": "Parquet",
    "text": "one text a line",
}


@dataclass(frozen=True)
class TextRecord:
    """One record.

    Attributes:
        text: None where it has none: a blank line, or nothing in its column.
        place: line, row or record that it begins at, from 1.
        unit: which of the three.
        values: its columns.
    """

    text: str | None
    place: int
    unit: str
    values: Mapping[str, Any]


def survey_texts(
    path: Path, source: str, text_column: str = "text", layout: Layout | None = None, kept: Sequence[str] = ()
) -> tuple[int, tuple[str, ...]]:
    """Reads a whole file to know how many records :func:`read_texts` gives of it, and with which columns.

    Raises:
        DataError: records cannot be read, with all their places; or a column is missing.
    """
    number = 0
    faults = []
    columns: dict[str, None] = {}
    with open_table(path, source, [text_column], layout, plain_lines=True) as table:
        for record in _checked(table, text_column, kept):
            number += 1
            if record.fault is not None:
                faults.append(record)
            elif table.columns is None:
                columns.update(dict.fromkeys(record.values))
        refuse_faults(source, table.unit, faults)
        for note in table.notes:
            _log.warning("%s: %s", source, note)
        return number, table.columns or tuple(columns)


def read_texts(
    file: Path | BinaryIO,
    source: str,
    text_column: str = "text",
    layout: Layout | None = None,
    kept: Sequence[str] = (),
) -> Iterator[TextRecord]:
    """The texts of a file or stream in their order, read as they are asked for.

    Args:
        file: a path, or a stream, which is left open.
        source: its name, for messages.
        text_column: column or key of the texts; of several (``title,body``), they are joined by line breaks. Plain
            lines need none.
        layout: what is said of the file.
        kept: columns that it must have besides.

    Raises:
        DataError: a record cannot be read. An empty stream is no fault.
    """
    with open_table(file, source, [text_column], layout, every_column=True, plain_lines=True) as table:
        if not isinstance(file, Path) and (layout is None or layout.format is None):
            _log.info("%s is read as %s; --input-format says otherwise", source, _NAMES[table.format])
        columns = _columns(table, text_column)
        for record in _checked(table, text_column, kept):
            if record.fault is not None:
                raise DataError(record.fault)
            text = text_of(record, columns, table) if record.values else ""
            yield TextRecord(text if text.strip() else None, record.place, table.unit, record.values)


def _columns(table: Table, text_column: str) -> tuple[str, ...]:
    return ("text",) if table.format == "text" else columns_of(text_column, table.columns)


def _checked(table: Table, text_column: str, kept: Sequence[str]) -> Iterator[Record]:
    """The records, each that lacks its text with the fault; blank lines after the last one are none."""
    columns = _columns(table, text_column)
    table.require([*columns, *kept])
    blank: list[Record] = []
    for record in table.records:
        if not record.values and record.fault is None:
            blank.append(record)
            continue
        yield from blank
        blank.clear()
        if record.fault is None:
            try:
                text_of(record, columns, table)
            except KeyError as error:
                record = record._replace(fault=lacking(record, str(error.args[0]), table))
            except ValueError as error:
                record = record._replace(fault=str(error))
        yield record
