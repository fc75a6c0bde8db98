"""Reads records of Parquet, and of Arrow's own files and streams (Feather)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gloss_tune.data.records import Record, Table, columns_of, split_column
from gloss_tune.errors import DataError

BEGIN = (b"PAR1", b"ARROW1", b"FEA1", b"\xff\xff\xff\xff")
"""First bytes of the files that are read here."""

_BATCH = 10_000


def read_parquet(source: Any, head: bytes, name: str, wanted: Sequence[str] | None) -> Table:
    """The records of a file of Parquet or Arrow.

    Args:
        source: path, or bytes.
        head: its first bytes.
        name: for messages.
        wanted: columns to read, or None for all.

    Raises:
        DataError: it is no such file, or the package pyarrow is missing.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            f"{name} needs the package pyarrow, which is not installed. Install it (pip install pyarrow), or save the "
            "data as CSV."
        ) from error
    kind = "Arrow" if head.startswith(BEGIN[1:]) else "Parquet"
    try:
        if isinstance(source, bytes):
            source = pyarrow.BufferReader(source)
        file = _ArrowTable(source, head) if kind == "Arrow" else pyarrow.parquet.ParquetFile(source)
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(name, kind, error) from error
    columns = tuple(file.schema_arrow.names)
    if wanted is None:
        read = list(columns)
    else:
        read = [column for asked in wanted for column in columns_of(asked, columns) if column in columns]
        read += [column for column in [split_column(columns, read)] if column is not None]
    names = _class_names(file.schema_arrow.metadata)
    return Table(name, "parquet", "row", columns, _records(file, name, kind, read), class_names=names)


def _class_names(metadata: Any) -> dict[str, list[str]]:
    """What the library ``datasets`` writes into a file: the names of its columns of classes."""
    found: dict[str, list[str]] = {}
    # nothing obliges other programs to keep to its form
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        for column, feature in json.loads(metadata[b"huggingface"])["info"]["features"].items():
            if feature.get("_type") == "ClassLabel":
                found[column] = [str(name) for name in feature["names"]]
    return found


class _ArrowTable:
    """A file of Arrow, mapped into memory, with the face of a Parquet file."""

    def __init__(self, source: Any, head: bytes) -> None:
        import pyarrow
        import pyarrow.feather

        if head.startswith(BEGIN[3]):
            with pyarrow.OSFile(str(source)) if isinstance(source, Path) else source as stream:
                self._table = pyarrow.ipc.open_stream(stream).read_all()
        else:
            self._table = pyarrow.feather.read_table(source, memory_map=isinstance(source, Path))
        self.schema_arrow = self._table.schema

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        del self._table

    def iter_batches(self, size: int, columns: list[str]) -> Any:
        return self._table.select(columns).to_batches(size)


def _records(file: Any, name: str, kind: str, read: list[str]) -> Iterator[Record]:
    import pyarrow

    with file:
        number = 1
        try:
            for batch in file.iter_batches(_BATCH, columns=list(dict.fromkeys(read))):
                names = batch.schema.names
                for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    yield Record(number, dict(zip(names, values, strict=True)))
                    number += 1
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise _unreadable(name, kind, error) from error


def _unreadable(name: str, kind: str, error: Exception) -> DataError:
    return DataError(f"{name} is not a readable {kind} file ({error}). Check how it was made.")
