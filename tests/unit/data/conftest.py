from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from gloss_tune.data import Split

Row = tuple[str, str]
WriteTable = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test, empty at first."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("GLOSS_TUNE_CACHE", str(folder))
    return folder


@pytest.fixture
def write_table() -> WriteTable:
    """Writes rows in the format that the file's ending says."""

    def write(path: Path, rows: Sequence[Row], columns: tuple[str, str] = ("text", "label")) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".jsonl":
            lines = (json.dumps(dict(zip(columns, row, strict=True))) for row in rows)
            path.write_text("\n".join(lines), encoding="utf-8")
        elif path.suffix == ".parquet":
            pyarrow = pytest.importorskip("pyarrow")
            parquet = pytest.importorskip("pyarrow.parquet")
            parquet.write_table(pyarrow.table(dict(zip(columns, zip(*rows, strict=True), strict=True))), path)
        else:
            with path.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([columns, *rows])
        return path

    return write


@pytest.fixture
def make_rows() -> Callable[..., list[Row]]:
    """Documents with distinct texts: ``make_rows(a=3, b=2)``."""

    def make(prefix: str = "document", /, **counts: int) -> list[Row]:
        return [
            (f"{prefix} {number} about {label}", label) for label, n in counts.items() for number in range(n)
        ]

    return make


@pytest.fixture
def make_split() -> Callable[[Sequence[Row]], Split]:
    def make(rows: Sequence[Row]) -> Split:
        names = sorted({label for _, label in rows})
        return Split(tuple(text for text, _ in rows), np.array([names.index(label) for _, label in rows]))

    return make
