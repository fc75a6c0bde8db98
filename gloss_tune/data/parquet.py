"""Reads records of Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gloss_tune.data.records import Record, Table, columns_of
from gloss_tune.errors import DataError

_BATCH = 10_000


def read_parquet(source: Any, name: str, wanted: Sequence[str] | None) -> Table:
    """The records of a Parquet file.

    Args:
        source: path, or bytes.
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
    try:
        if isinstance(source, bytes):
            source = pyarrow.BufferReader(source)
        file = pyarrow.parquet.ParquetFile(source)
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(name, error) from error
    columns = tuple(file.schema_arrow.names)
    if wanted is None:
        read = list(columns)
    else:
        read = [column for asked in wanted for column in columns_of(asked, columns) if column in columns]
    return Table(name, "parquet", "row", columns, _records(file, name, read))


def _records(file: Any, name: str, read: list[str]) -> Iterator[Record]:
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
            raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> DataError:
    return DataError(f"{name} is not a readable Parquet file ({error}). Check how it was made.")
