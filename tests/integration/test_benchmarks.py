"""The benchmarks' own bookkeeping: what is run, what is said of what is not, and what is kept."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest

from tests.benchmarks import __main__ as bench
from tests.benchmarks.table import Row, format_table

FAST = Row("start", "import", "s", [1.0, 3.0, 2.0], "limit", [4.0], "≤ 1")
SLOW = Row("memory", "peak", "MiB", [10.0], "batch 128", [8.0])


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as left:
        bench.main()
    return int(left.value.code or 0)


@pytest.fixture(autouse=True)
def groups(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(quick: bool) -> list[Row]:
        raise RuntimeError("no server")

    for name, rows in (
        ("start", lambda quick: [FAST]),
        ("memory", lambda quick: [SLOW]),
        ("studies", broken),
    ):
        module = types.ModuleType(f"tests.benchmarks.{name}")
        module.rows = rows  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"tests.benchmarks.{name}", module)


def test_ratios_are_of_medians() -> None:
    assert (FAST.median, FAST.ratio) == (2.0, 0.5)
    assert "| import | 2 s | limit | 4 s | 0.5 | ≤ 1 | 3 |" in format_table([FAST])


def test_groups_run_one_by_one_add_up_to_one_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "start", "--output", str(tmp_path)) == 0
    assert run(monkeypatch, "memory", "--output", str(tmp_path)) == 0
    text = (tmp_path / "README.md").read_text()
    assert text.index("import") > text.index("peak")  # in the order of the groups, whichever ran first
    assert "Not measured here: training, auto, quality, studies" in text
    stored = json.loads((tmp_path / "start" / "rows.json").read_text())
    assert (stored[0]["raw"], stored[0]["ratio"]) == ([1.0, 3.0, 2.0], 0.5)
    assert "python -m tests.benchmarks start" in (tmp_path / "start" / "README.md").read_text()
    assert "peak" in capsys.readouterr().out


def test_a_group_that_fails_costs_its_own_figures_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "studies", "start", "--output", str(tmp_path)) == 1
    assert "studies: failed, RuntimeError: no server" in capsys.readouterr().out
    assert (tmp_path / "start").is_dir()
    assert not (tmp_path / "studies").exists()


def test_what_cannot_run_here_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        bench, "why_not", lambda group, quick: "there is no CUDA device" if group == "gpu" else ""
    )
    monkeypatch.delenv("GLOSS_TUNE_DATA", raising=False)
    assert run(monkeypatch, "gpu", "memory", "--quick") == 0
    printed = capsys.readouterr().out
    assert "gpu: not run, because there is no CUDA device" in printed
    assert "stdlib took their place" in printed


def test_an_unknown_group_is_wrong_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "speed") == 2
    assert "GROUP must be one of training" in capsys.readouterr().err
