"""How ``gloss-tune predict`` writes what it found: a row for each record."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, TextIO


class PredictionFormat(str, Enum):
    """What is written."""

    csv = "csv"
    jsonl = "jsonl"


class PredictionWriter:
    """Writes rows as CSV or JSON lines.

    Args:
        target: where to.
        format: which of the two.
        classes: of the model.
        kept: columns of the records to write before the label.
    """

    def __init__(
        self, target: TextIO, format: PredictionFormat, classes: Sequence[str], kept: Sequence[str]
    ) -> None:
        self._target = target
        self._csv = csv.writer(target, lineterminator="\n") if format is PredictionFormat.csv else None
        self._classes = classes
        self._ours = ["label", *(f"probability_{name}" for name in classes)]
        self._kept = tuple(kept)
        if self._csv is not None:
            self._csv.writerow([*map(self._renamed, self._kept), *self._ours])

    def write(self, values: Mapping[str, Any], label: str | None, probabilities: Sequence[float]) -> None:
        """One row; without a label for a record that has no text."""
        if self._csv is None:
            kept = {self._renamed(name): _plain(values.get(name)) for name in self._kept}
            shown = dict(zip(self._classes, probabilities, strict=True)) if label is not None else None
            self._target.write(
                json.dumps({**kept, "label": label, "probabilities": shown}, ensure_ascii=False, default=str)
                + "\n"
            )
            return
        ours = [label, *probabilities] if label is not None else [""] * len(self._ours)
        self._csv.writerow([*(_cell(values.get(name)) for name in self._kept), *ours])

    def _renamed(self, name: str) -> str:
        """What is predicted keeps its name; a column of the file that has the same one gives way."""
        ours = self._ours if self._csv is not None else ("label", "probabilities")
        return f"input_{name}" if name in ours else name


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value


def _cell(value: Any) -> Any:
    value = _plain(value)
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else value
