"""The notebook in studies/ runs from its first cell to its last, as it is shipped: as a rehearsal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "studies" / "tutorial.ipynb"


def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the notebook's cells leave, run one after the other as a kernel does."""
    monkeypatch.chdir(folder)
    known: dict[str, Any] = {}
    for number, cell in enumerate(json.loads(NOTEBOOK.read_text())["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), known)
    return known


@pytest.mark.timeout(60)
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = run(tmp_path, monkeypatch)
    assert known["confirmed"]["state"] == "finished"
    assert not list((tmp_path / "gloss-tune-artifacts").glob("checkpoints/*/*"))


def test_it_carries_no_output() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 8
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
