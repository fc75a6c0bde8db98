"""Reads one file of labelled texts, in any of the formats that :mod:`gloss_tune.data.reader` knows."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gloss_tune.data.dataset import Document, quoted
from gloss_tune.data.labels import label_of
from gloss_tune.data.reader import SUFFIXES, open_table
from gloss_tune.data.records import Layout, Record, Table, columns_of, missing_column, split_column
from gloss_tune.errors import DataError
from gloss_tune.wording import listed

__all__ = [
    "SUFFIXES",
    "LabelledTexts",
    "lacking",
    "read_documents",
    "read_labelled",
    "refuse_faults",
    "text_of",
]

_SHOWN = 10  # places of faults that a message lists


@dataclass(frozen=True)
class LabelledTexts:
    """What a file holds.

    Attributes:
        documents: (text, label) in the file's order.
        columns: those that texts and label were read from.
        notes: what the user should know, one sentence each.
        splits: of each document, what a column ``split`` says; none where there is no such column.
    """

    documents: list[Document]
    columns: tuple[str, ...]
    notes: tuple[str, ...]
    splits: tuple[str, ...] = ()


def read_documents(path: Path, text_column: str = "text", label_column: str = "label") -> list[Document]:
    """The texts and labels of one file, as :func:`read_labelled` reads them."""
    return read_labelled(path, text_column, label_column).documents


def read_labelled(
    path: Path,
    text_column: str = "text",
    label_column: str = "label",
    layout: Layout | None = None,
    *,
    as_before: bool = False,
) -> LabelledTexts:
    """Reads the texts and labels of one file.

    Args:
        path: CSV, TSV, JSON or Parquet, packed or not.
        text_column: column of the texts; of several (``title,body``), the texts are joined by line breaks.
        label_column: column of the labels.
        layout: what the file does not say itself.
        as_before: labels by the rule of release 0.1.

    Returns:
        At least one document, none of the strings blank.

    Raises:
        DataError: anything that keeps a document from being used, with the lines (or rows) that it is on.
    """
    with open_table(path, str(path), [text_column, label_column], layout) as table:
        return labelled(table, text_column, label_column, as_before=as_before)


def labelled(table: Table, text_column: str, label_column: str, *, as_before: bool = False) -> LabelledTexts:
    """The texts and labels of a table; arguments and errors as those of :func:`read_labelled`."""
    faults: list[Record] = []
    blank: dict[str, list[int]] = {text_column: [], label_column: []}
    documents: list[Document] = []
    splits: list[str] = []
    spelled = _Labels(as_before)
    names = () if as_before else table.class_names.get(label_column, ())
    parts = columns_of(text_column, table.columns)
    table.require([*parts, label_column])
    beside = split_column(table.columns or (), (*parts, label_column))
    for record in table.records:
        if record.fault is not None:
            faults.append(record)
            continue
        if not record.values:
            continue  # a blank line between records
        try:
            text = text_of(record, parts, table)
            label = spelled.label(_named(record.values[label_column], names))
        except KeyError as error:
            faults.append(record._replace(fault=lacking(record, str(error.args[0]), table)))
            continue
        except _NoLabelError as error:
            faults.append(
                record._replace(
                    fault=f"A label is a string or a number, but on {_place(record, table)} of {table.name} it is "
                    f"{error}. Give each one label."
                )
            )
            continue
        except ValueError as error:
            faults.append(record._replace(fault=str(error)))
            continue
        if not text.strip():
            blank[text_column].append(record.place)
        if not label:
            blank[label_column].append(record.place)
        documents.append((text, label))
        if table.columns is None and len(documents) == 1:
            beside = split_column(record.values, (*parts, label_column))
        if beside is not None:
            splits.append(str(record.values.get(beside) or "").strip())
    refuse_faults(table.name, table.unit, faults)
    for column, places in blank.items():
        _refuse_blank(table.name, table.unit, column, places)
    if not documents:
        raise DataError(
            f"A data file holds at least one document, but {table.name} is empty. Check how it was made."
        )
    name = Path(table.name).name
    notes = [f"{name}: {note}" for note in [*table.notes, *spelled.notes()]]
    return LabelledTexts(documents, (*parts, label_column), tuple(notes), tuple(splits))


def _named(label: Any, names: Sequence[str]) -> Any:
    """The name that a class's number stands for; -1 stands for none."""
    if not names or type(label) is not int:
        return label
    return names[label] if 0 <= label < len(names) else None


class _NoLabelError(ValueError):
    pass


class _Labels:
    """The labels of a table, each spelling looked at once."""

    def __init__(self, as_before: bool) -> None:
        self._as_before = as_before
        self._known: dict[str, str] = {}

    def label(self, raw: Any) -> str:
        found = self._known.get(raw) if type(raw) is str else None
        if found is not None:
            return found
        try:
            label = label_of(raw, as_before=self._as_before)
        except ValueError as error:
            raise _NoLabelError(str(error)) from None
        if type(raw) is str:
            self._known[raw] = label
        return label

    def notes(self) -> list[str]:
        spellings: dict[str, set[str]] = defaultdict(set)
        for raw, label in self._known.items():
            spellings[label].add(raw.strip())
        return [
            f"labels {quoted(sorted(raw))} are one class, {label!r}."
            for label, raw in sorted(spellings.items())
            if len(raw) > 1
        ]


def text_of(record: Record, columns: Sequence[str], table: Table) -> str:
    """The text of a record: that of its column, or of several, a line break between.

    Raises:
        KeyError: the record lacks a column.
        ValueError: a value is no text.
    """
    values = record.values
    if len(columns) == 1:
        value = values[columns[0]]
        return value if type(value) is str else _text(value, columns[0], record, table)
    texts = [_text(values[column], column, record, table).strip() for column in columns]
    return "\n".join(text for text in texts if text)


def lacking(record: Record, column: str, table: Table) -> str:
    """The fault of a record, of a table whose records are not all alike, that lacks a column."""
    return missing_column(
        f"{_place(record, table).capitalize()} of {table.name}", column, list(record.values)
    )


def refuse_faults(name: str, unit: str, faults: Iterable[Record]) -> None:
    """Refuse a file if any of its records cannot be read.

    Raises:
        DataError: the first fault, and where the others are.
    """
    faulty = list(faults)
    if not faulty:
        return
    first = str(faulty[0].fault)
    if len(faulty) == 1:
        raise DataError(first)
    others = listed([record.place for record in faulty], unit)
    raise DataError(f"{len(faulty):,} records of {name} cannot be read, on {others}. The first: {first}")


def _text(value: object, column: str, record: Record, table: Table) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, str):
        raise ValueError(
            f"A text is a string, but {column!r} on {_place(record, table)} of {table.name} is {value!r:.60}. Name the "
            "column that holds the texts (--text-column)."
        )
    return value


def _place(record: Record, table: Table) -> str:
    return f"{table.unit} {record.place}"


def _refuse_blank(name: str, unit: str, column: str, places: list[int]) -> None:
    if places:
        many = len(places) > 1
        shown = ", ".join(map(str, places[:_SHOWN])) + (", …" if len(places) > _SHOWN else "")
        raise DataError(
            f"Every document needs a text and a label, but column {column!r} of {name} is empty on {unit}"
            f"{'s' if many else ''} {shown} ({len(places):,} in all). Fill {'them' if many else 'it'} in or remove the "
            f"{unit}{'s' if many else ''}."
        )
