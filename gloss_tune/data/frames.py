"""Data sets that live in a Python process, written to files: a study's workers are processes of their own.

A pandas DataFrame, a ``datasets.Dataset``, or one of these for each split. The folder is called after what is in it,
so that the same data are written once, and a study finds them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gloss_tune.atomic import whole_folder
from gloss_tune.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

#: A split's name, and what else it is called.
_SPLITS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "dev": "val", "test": "test"}


def is_frame(data: object) -> bool:
    """Whether it is a table, or tables by split, that must be written to files first."""
    if isinstance(data, Mapping):
        return bool(data) and all(is_frame(part) for part in data.values())
    return hasattr(data, "to_pandas") or (hasattr(data, "to_csv") and hasattr(data, "columns"))


def write_frames(data: Any, folder: Path, text_column: str = "text", label_column: str = "label") -> Path:
    """Write a data set's splits below a folder, each as ``SPLIT.jsonl`` with the columns text and label.

    Args:
        data: a DataFrame, a ``datasets.Dataset``, or a mapping of splits to these (``datasets.DatasetDict``); a single
            table is the training split, or all of them if it has a column ``split``.
        folder: where data sets of this kind lie.
        text_column: names of its columns of texts, with commas between.
        label_column: name of its column of labels; a ``ClassLabel``'s numbers become its names.

    Returns:
        The data set's folder.

    Raises:
        DataError: a column or split is missing or unknown; nothing was written.
    """
    splits = {name: _columns(name, frame, text_column, label_column) for name, frame in _splits(data).items()}
    written = {
        name: frame.to_json(orient="records", lines=True, force_ascii=False) for name, frame in splits.items()
    }
    digest = hashlib.sha256()
    for name in sorted(written):
        digest.update(f"{name}\n".encode() + written[name].encode("utf-8", "surrogatepass"))
    place = folder / f"frame-{digest.hexdigest()[:16]}"
    if place.is_dir():
        return place
    folder.mkdir(parents=True, exist_ok=True)
    with whole_folder(place) as unfinished:
        for name, text in written.items():
            (unfinished / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return place


def _splits(data: Any) -> dict[str, pd.DataFrame]:
    if isinstance(data, Mapping):
        unknown = [str(name) for name in data if name not in _SPLITS]
        if unknown:
            raise DataError(
                f"A data set's splits are train, val and test; got {', '.join(unknown)}; rename it"
            )
        return _with_train({_SPLITS[name]: _frame(part) for name, part in data.items()})
    frame = _frame(data)
    if "split" not in frame.columns:
        return {"train": frame}
    named = frame["split"].map(lambda name: _SPLITS.get(str(name)))
    if named.isna().any():
        wrong = sorted({str(name) for name in frame["split"][named.isna()]})[:5]
        raise DataError(
            f"Column split must say train, val or test; got {', '.join(wrong)}; change or drop it"
        )
    return _with_train({str(name): part for name, part in frame.groupby(named, sort=False)})


def _with_train(splits: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    if "train" not in splits:
        raise DataError(f"A data set needs a split train; got {', '.join(splits)}")
    return splits


def _frame(data: Any) -> pd.DataFrame:
    frame: pd.DataFrame = data.to_pandas() if hasattr(data, "to_pandas") else data
    for name, feature in (getattr(data, "features", None) or {}).items():
        names = getattr(feature, "names", None)
        if names is not None and name in frame.columns:
            frame[name] = [names[int(number)] for number in frame[name]]
    return frame


def _columns(split: str, frame: pd.DataFrame, text_column: str, label_column: str) -> pd.DataFrame:
    import pandas as pd

    texts = [name.strip() for name in text_column.split(",")]
    for column in [*texts, label_column]:
        if column not in frame.columns:
            known = ", ".join(map(str, frame.columns))
            raise DataError(
                f"Split {split} has no column {column!r}; it has {known}. Name them by text_column and label_column"
            )
    missing = frame[[*texts, label_column]].isna().any(axis=1)
    if missing.any():
        raise DataError(
            f"Split {split} has {int(missing.sum())} rows without text or label, the first at {missing.idxmax()!r}; "
            "drop or fill them"
        )
    joined = frame[texts[0]].astype(str)
    for name in texts[1:]:
        joined = joined + "\n" + frame[name].astype(str)
    columns: pd.DataFrame = pd.DataFrame({"text": joined, "label": frame[label_column].astype(str)})
    return columns
