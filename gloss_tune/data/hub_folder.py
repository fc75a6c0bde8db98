"""Reads folders that the library ``datasets`` wrote by ``save_to_disk``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gloss_tune.data.dataset import quoted
from gloss_tune.data.folders import WORDS
from gloss_tune.data.hub import datasets_library
from gloss_tune.data.reading import LabelledTexts, labelled
from gloss_tune.data.records import Record, Table
from gloss_tune.errors import DataError


def is_hub_folder(folder: Path) -> bool:
    """Whether ``datasets`` wrote it."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    )


def read_hub_folder(
    folder: Path, text_column: str, label_column: str, *, as_before: bool = False, called: str | None = None
) -> tuple[dict[str, LabelledTexts], tuple[str, ...]]:
    """The documents of each split, and the names of splits that mean nothing here.

    Args:
        folder: written by ``save_to_disk``.
        text_column: as for files.
        label_column: likewise; of a column that names its classes, the names are the labels.
        as_before: labels by the rule of release 0.1.
        called: what messages call it; by default the folder.

    Raises:
        DataError: it cannot be read, has no split train, or the package is missing.
    """
    called = called or str(folder)
    datasets = datasets_library(called)
    try:
        loaded: Any = datasets.load_from_disk(str(folder))
    except Exception as error:  # whatever a file that was changed by hand makes it raise
        raise DataError(
            f"{called} cannot be read by the package datasets ({error:.200}). Save it anew."
        ) from error
    parts = dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
    if not any(name.lower() in WORDS["train"] for name in parts):
        raise DataError(
            f"A data set has a split train, but {called} has {quoted(list(parts))}. Save the split that is to be "
            "trained on as a file, and name that."
        )
    found: dict[str, LabelledTexts] = {}
    others = []
    for name, part in parts.items():
        split = next((split for split, words in WORDS.items() if name.lower() in words), None)
        if split is None:
            others.append(str(name))
        elif split == "test" and _is_unlabelled(part, label_column):
            others.append(f"{name} (without labels)")
        elif split in found:
            raise DataError(f"A split is one, but {called} has {quoted(list(parts))}. Keep one of each.")
        else:
            columns = tuple(part.column_names)
            table = Table(f"{called}/{name}", "datasets", "row", columns, _records(part, label_column))
            found[split] = labelled(table, text_column, label_column, as_before=as_before)
    return found, tuple(others)


def _is_unlabelled(part: Any, label_column: str) -> bool:
    """Whether all labels are -1, as in competitions that keep theirs secret."""
    if not getattr(part.features.get(label_column), "names", None):
        return False
    return set(part[label_column]) == {-1}


def _records(part: Any, label_column: str) -> Iterator[Record]:
    names = getattr(part.features.get(label_column), "names", None)
    for number, values in enumerate(part, start=1):
        if names and isinstance(values[label_column], int):
            index = values[label_column]
            values = {**values, label_column: names[index] if 0 <= index < len(names) else None}
        yield Record(number, values)
