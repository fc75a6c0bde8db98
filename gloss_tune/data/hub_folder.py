"""Reads folders that the library ``datasets`` wrote by ``save_to_disk``."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gloss_tune.data.dataset import quoted
from gloss_tune.data.folders import WORDS
from gloss_tune.data.reading import LabelledTexts, labelled
from gloss_tune.data.records import Record, Table
from gloss_tune.errors import DataError


def is_hub_folder(folder: Path) -> bool:
    """Whether ``datasets`` wrote it."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    )


def read_hub_folder(
    folder: Path, text_column: str, label_column: str, *, as_before: bool = False
) -> tuple[dict[str, LabelledTexts], tuple[str, ...]]:
    """The documents of each split, and the names of splits that mean nothing here.

    Args:
        folder: written by ``save_to_disk``.
        text_column: as for files.
        label_column: likewise; of a column that names its classes, the names are the labels.
        as_before: labels by the rule of release 0.1.

    Raises:
        DataError: it cannot be read, or the package is missing.
    """
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise DataError(
            f"{folder} was written by the package datasets, which is not installed. Install it (pip install datasets), "
            "or save the data as Parquet."
        ) from error
    try:
        loaded: Any = datasets.load_from_disk(str(folder))
    except Exception as error:  # whatever a file that was changed by hand makes it raise
        raise DataError(
            f"{folder} cannot be read by the package datasets ({error:.200}). Save it anew."
        ) from error
    parts = dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
    found: dict[str, LabelledTexts] = {}
    others = []
    for name, part in parts.items():
        split = next((split for split, words in WORDS.items() if name.lower() in words), None)
        if split is None:
            others.append(str(name))
        elif split in found:
            raise DataError(f"A split is one, but {folder} has {quoted(list(parts))}. Keep one of each.")
        else:
            columns = tuple(part.column_names)
            table = Table(f"{folder}/{name}", "datasets", "row", columns, _records(part, label_column))
            found[split] = labelled(table, text_column, label_column, as_before=as_before)
    return found, tuple(others)


def _records(part: Any, label_column: str) -> Iterator[Record]:
    names = getattr(part.features.get(label_column), "names", None)
    for number, values in enumerate(part, start=1):
        if names and isinstance(values[label_column], int):
            index = values[label_column]
            values = {**values, label_column: names[index] if 0 <= index < len(names) else None}
        yield Record(number, values)
