"""Reads records of CSV and TSV.

Python's own ``csv`` is used and not pandas: it takes every value as the text that it is (``NA``, ``null``, ``1`` stay
themselves), knows the physical line that a record begins on, and never guesses an index column.

A TSV is lines of fields with tabs between. Its quotes are quotes of the text, unless they pair in every field that
begins with one, as a program writes that quotes fields. Only where lines alone make no table, and records that span
several of them do, are these read, and that is told.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator, Sequence

from gloss_tune.data.records import Record, Table
from gloss_tune.wording import count, listed

_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_WHOLE_FIELD = re.compile(r'"(?:[^"]|"")*"', re.DOTALL)
_SAMPLE = 100


def read_csv(
    lines: Iterator[str], name: str, separator: str, *, header: bool, head: str, wanted: Sequence[str]
) -> Table:
    """CSV, read as it is asked for.

    Args:
        lines: with their ends.
        name: for messages.
        separator: one character.
        header: whether the first line names the columns.
        head: the first lines, to judge from.
        wanted: columns that the user names, for a hint where they are missing.
    """
    first = next(iter(head.splitlines()), "")
    told = re.fullmatch(r'"?sep=(.)"?', first.strip(), re.IGNORECASE)
    offset = 0
    if told:  # Excel writes this line for itself
        separator = told.group(1)
        next(lines, None)
        head, offset = head.partition("\n")[2], 1
    spaced = _quotes_after_spaces(head, separator)
    notes: list[str] = []
    rows = _parsed(_Remembering(lines), separator, spaced, notes, offset)
    return _table(rows, name, "csv", separator, header, head, wanted, notes)


def read_tsv(lines: Iterator[str], name: str, *, header: bool, head: str, wanted: Sequence[str]) -> Table:
    """TSV, which is read whole before the first record is given; arguments as in :func:`read_csv`."""
    notes: list[str] = []
    rows = _tab_separated(list(lines), notes)
    return _table(rows, name, "tsv", "\t", header, head, wanted, notes)


# line that the record begins on, fields, and what is wrong with it
_Row = tuple[int, list[str], str | None]


def _table(
    rows: Iterator[_Row], name: str, format: str, separator: str, header: bool, head: str, wanted: Sequence[str],
    notes: list[str],
) -> Table:  # fmt: skip
    first = next((row for row in rows if row[1] or row[2]), None)
    if first is None:
        return Table(name, format, "line", None, iter(()), notes=notes)
    if first[2]:
        return Table(name, format, "line", None, iter([_malformed(first, name)]), notes=notes)
    if header:
        columns = tuple(_unquoted(field) for field in first[1])
    else:
        width = len(first[1])
        columns = ("text", "label")[:width] if width < 3 else tuple(str(n + 1) for n in range(width))
        rows = itertools.chain([first], rows)
    hint = _hint(first[1], head, separator, wanted) if header else ""
    return Table(name, format, "line", columns, _records(rows, columns, name), hint, notes)


def _records(rows: Iterator[_Row], columns: tuple[str, ...], name: str) -> Iterator[Record]:
    width = len(columns)
    for row in rows:
        place, fields, fault = row
        if len(fields) == width and fault is None:
            yield Record(place, dict(zip(columns, fields, strict=True)))
        elif fault is not None:
            yield _malformed(row, name)
        elif not fields or (len(fields) == 1 and not fields[0].strip()):
            yield Record(place, {columns[0]: ""} if width == 1 else {})
        else:
            yield Record(
                place,
                {},
                f"Every record has the header's {count(width, 'field')}, but the one on line {place} of {name} has "
                f"{len(fields)}. Put texts that hold a separator or a line break in double quotes.",
            )


def _malformed(row: _Row, name: str) -> Record:
    return Record(
        row[0],
        {},
        f"The record that begins on line {row[0]} of {name} is malformed ({row[2]}). Close every double quote, and "
        "double those within a quoted text.",
    )


class _Remembering:
    """Lines, of which those since the last call of :meth:`taken` are remembered."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._taken.append(line)
        return line

    def taken(self) -> list[str]:
        found, self._taken = self._taken, []
        return found


def _parsed(
    lines: _Remembering, separator: str, spaced: bool, notes: list[str], offset: int = 0
) -> Iterator[_Row]:
    """The records of CSV; a note if some of those that span lines look like several records."""
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=spaced)
    suspicious = []
    width = 0
    begin = 1 + offset
    while True:
        fields: list[str] | None
        fault = None
        # csv refuses fields over 128 KiB unless told otherwise, and can only be told for the whole process
        limit = csv.field_size_limit(2**31 - 1)
        try:
            fields = next(reader, None)
        except csv.Error as error:
            fields, fault = [], str(error)
        finally:
            csv.field_size_limit(limit)
        if fields is None:
            break
        taken = lines.taken()
        width = width or len(fields)
        if len(taken) > 1 and 1 < width == len(fields):
            alone = [line for line in taken if line.count(separator) == width - 1]
            if len(alone) == len(taken):
                suspicious.append(begin)
        yield begin, fields, fault
        begin = reader.line_num + 1 + offset
    if suspicious:
        notes.append(
            f"A double quote opens a text of several lines in {count(len(suspicious), 'record')} "
            f"({listed(suspicious, 'line')}), whose lines could be records themselves: if they are, double the "
            "quotes, or save as TSV."
        )


def _tab_separated(lines: list[str], notes: list[str]) -> Iterator[_Row]:
    width = next((line.count("\t") + 1 for line in lines if line.strip()), 0)
    ragged = sum(line.count("\t") != width - 1 and bool(line.strip()) for line in lines)
    quoting = [line for line in lines if '"' in line]
    if quoting and ragged and (spanning := _spanning(lines, width, ragged, notes)) is not None:
        yield from spanning
        return
    opening = [field for line in quoting for field in _fields(line) if field.startswith('"')]
    paired = bool(opening) and all(map(_WHOLE_FIELD.fullmatch, opening))
    for number, line in enumerate(lines, start=1):
        fields = _fields(line)
        if not line.strip() and len(fields) != width:
            fields = []
        yield number, [_dequoted(field) for field in fields] if paired else fields, None


def _spanning(lines: list[str], width: int, ragged: int, notes: list[str]) -> list[_Row] | None:
    """The records, if a program wrote them that quotes texts with tabs and line breaks; else None."""
    remembering = _Remembering(iter(lines))
    rows = list(_parsed(remembering, "\t", False, []))
    wrong = sum(fault is not None or (bool(fields) and len(fields) != width) for _, fields, fault in rows)
    ends = [*(begin for begin, _, _ in rows[1:]), len(lines) + 1]
    spans = [
        (begin, end - 1)
        for (begin, fields, _), end in zip(rows, ends, strict=True)
        if fields and end - begin > 1
    ]
    # a stray quote that meets the next one swallows the lines between: the first and the last are then whole records
    swallowed = [
        begin
        for begin, last in spans
        if lines[begin - 1].count("\t") == width - 1 == lines[last - 1].count("\t")
    ]
    if wrong >= ragged or swallowed:
        return None
    if spans:
        notes.append(
            f"{count(len(spans), 'record')} of this TSV {'spans' if len(spans) == 1 else 'span'} several lines "
            f"({listed([begin for begin, _ in spans], 'line')}), in double quotes: if the lines are records "
            "themselves, the quotes are stray ones; remove them."
        )
    return rows


def _fields(line: str) -> list[str]:
    return line.rstrip("\r\n").split("\t")


def _dequoted(field: str) -> str:
    return field[1:-1].replace('""', '"') if field.startswith('"') else field


def _unquoted(field: str) -> str:
    """A column's name without what surrounds it."""
    field = field.strip().strip("\ufeff\u200b").strip()
    return field[1:-1] if len(field) > 1 and field[0] == field[-1] == '"' else field


def _quotes_after_spaces(head: str, separator: str) -> bool:
    """Whether fields are quoted after a space, as in ``"a text", "a label"``."""
    if separator.isspace() or not re.search(re.escape(separator) + r' +"', head):
        return False
    lines = head.splitlines(keepends=True)[:_SAMPLE]
    try:
        plain = [fields for fields in csv.reader(lines, delimiter=separator) if fields]
        rows = list(csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True))
    except csv.Error:
        return False
    whole = [field.strip() for fields in plain for field in fields if re.match(' +"', field)]
    return bool(whole) and len({len(fields) for fields in rows if fields}) == 1


def _hint(first: Sequence[str], head: str, separator: str, wanted: Sequence[str]) -> str:
    """What may be wrong with a first line that does not name the columns."""
    line = next((line for line in head.splitlines() if line.strip()), "")
    for other, said in _NAMES.items():
        if other != separator and set(wanted) <= {_unquoted(field) for field in line.split(other)}:
            asked = "tab" if other == "\t" else other
            return f"Its first line has {said} between the columns: add --separator '{asked}'."
    rows = [line.split(separator) for line in head.splitlines()[1:_SAMPLE]]
    repeated = any(
        name.strip() and any(len(row) > at and row[at].strip() == name.strip() for row in rows)
        for at, name in enumerate(first)
    )
    named = "the columns that hold the text and the label (--text-column, --label-column)"
    if repeated or any(len(name) > 40 or name.count(" ") > 3 for name in first):
        return (
            f"Its first line looks like a record: if there is no header, add --no-header; else name {named}."
        )
    return f"Name {named}, or add --no-header if its first line is a record."
