"""What every reader of files gives: records with the place that they begin at, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gloss_tune.data.dataset import quoted
from gloss_tune.errors import DataError

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "text")


class Record(NamedTuple):
    """One record of a file.

    Attributes:
        place: line, row or record that it begins on, from 1.
        values: by column; empty for a blank line, and where there is a fault.
        fault: a sentence, if the record cannot be read; the records after it can.
    """

    place: int
    values: Mapping[str, Any]
    fault: str | None = None


@dataclass(frozen=True)
class Layout:
    """How files are to be read where they do not say it themselves.

    Attributes:
        format: one of ``FORMATS``; by default the file's ending and content tell.
        encoding: as Python names it; by default UTF-8, or what a byte order mark says.
        separator: between the fields of CSV; by default a comma, in TSV a tab.
        header: whether the first line of CSV and TSV names the columns. Without one they are ``text`` and ``label``
            where there are two, ``text`` where there is one, and else numbers from 1.
    """

    format: str | None = None
    encoding: str | None = None
    separator: str | None = None
    header: bool = True

    def __post_init__(self) -> None:
        if self.separator is not None:
            object.__setattr__(self, "separator", _separator(self.separator))


@dataclass
class Table:
    """A file that is being read.

    Attributes:
        name: for messages.
        format: one of ``FORMATS``.
        unit: what places count: ``line``, ``row`` or ``record``.
        columns: where all records have the same, else None.
        records: can be walked through once.
        hint: what else may be wrong if a column is missing, as a sentence, or nothing.
        notes: what the user should know, one sentence each; complete when all records are read.
        class_names: of columns whose numbers are indices into these.
    """

    name: str
    format: str
    unit: str
    columns: tuple[str, ...] | None
    records: Iterator[Record]
    hint: str = ""
    notes: list[str] = field(default_factory=list)
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def require(self, columns: Sequence[str]) -> None:
        """Refuse a table that lacks a column, or has it twice.

        Raises:
            DataError: with the columns that there are.
        """
        if self.columns is None:
            return
        for column in columns:
            if column not in self.columns:
                raise DataError(missing_column(self.name, column, self.columns, self.hint))
            if self.columns.count(column) > 1:
                raise DataError(
                    f"Column names are unique, but {self.name} has {column!r} twice. Rename one of them."
                )


def columns_of(asked: str, present: Sequence[str] | None) -> tuple[str, ...]:
    """The columns that an option names: one, or several with commas between.

    Args:
        asked: such as ``text`` or ``title,body``.
        present: the columns that there are, where it is known: one whose name has a comma in it is that one.
    """
    if "," not in asked or asked in (present or ()):
        return (asked,)
    return tuple(dict.fromkeys(part.strip() for part in asked.split(",") if part.strip())) or (asked,)


def split_column(present: Iterable[str], asked: Iterable[str]) -> str | None:
    """The column that says which split a record belongs to: ``split``, unless it is asked for as another."""
    return next((name for name in present if name.casefold() == "split" and name not in asked), None)


def missing_column(place: str, column: str, present: Sequence[str], hint: str = "") -> str:
    """What is said where a column is missing; of what may be a document instead of a name, only the beginning."""
    shown = quoted([name if len(name) <= 30 else name[:27] + "…" for name in present]) or "none"
    alike = [name for name in present if name.casefold().strip() == column.casefold().strip()]
    near = f"Did you mean {alike[0]!r} (--text-column, --label-column)?" if alike else ""
    general = "Name the columns that hold the text and the label (--text-column, --label-column)."
    return f"{place} has no column {column!r}; it has {shown}. {near or hint or general}"


def _separator(asked: str) -> str:
    named = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
    found = named.get(asked.lower(), asked)
    if len(found) != 1 or found in '"\r\n\0':
        raise DataError(
            f"A separator is one character (or tab, comma, semicolon, pipe), got {asked!r}. Give for example ';'."
        )
    return found
