"""Studies beside each other: numbers by an independent oracle, differences named, nothing looked at twice."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from gloss_tune.cli.compare import CompareFormat
from gloss_tune.cli.compare import compare as compare_command
from gloss_tune.confirm.compare import Compared, compare, read_for_comparison
from gloss_tune.confirm.confirmation import confirm, confirmation_of, ranking
from gloss_tune.errors import InputError
from gloss_tune.signals import StopFlag
from gloss_tune.study.study import OpenStudy, searches
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.worker import work
from tests.integration.studies import join, make

pytestmark = [pytest.mark.timeout(60), pytest.mark.prepared]

LOSSES = ("ce", "gloss", "scl")


def searched(url: str, loss: str, trials: int = 2, **layer: Any) -> OpenStudy:
    opened = make(url, loss, loss=loss, trials=trials, pruner="none", train={"epochs": 2}, **layer)
    work(opened, WorkerOptions(), StopFlag())
    return opened


def confirmed(url: str, seeds: int = 4) -> list[OpenStudy]:
    for loss in LOSSES:
        work(confirm(searched(url, loss), 1, seeds).study, WorkerOptions(), StopFlag())
    return [join(url, loss) for loss in LOSSES]


def given(opened: OpenStudy, *values: float, test: dict[str, Any] | None = None) -> Compared:
    return Compared(opened, 0, 0.9, dict(enumerate(values)), 10.0, test or {})


def test_means_tests_and_correction_are_those_of_scipy(url: str) -> None:
    opened = [make(url, loss, loss=loss) for loss in LOSSES]
    draw = np.random.default_rng(0)
    values = [draw.normal(0.8, 0.01, 6), draw.normal(0.82, 0.01, 6), draw.normal(0.8, 0.01, 6)]
    (group,) = compare([given(o, *v) for o, v in zip(opened, values, strict=True)])["groups"]
    expected = [stats.ttest_rel(other, values[0]).pvalue for other in values[1:]]
    order = np.argsort(expected)
    holm = np.maximum.accumulate(np.minimum(np.array(expected)[order] * [2, 1], 1))[np.argsort(order)]
    for row, own, p, corrected in zip(group["studies"][1:], values[1:], expected, holm, strict=True):
        assert row["val"]["mean"] == pytest.approx(np.mean(own))
        assert row["val"]["sd"] == pytest.approx(np.std(own, ddof=1))
        assert row["val"]["difference"] == pytest.approx(np.mean(own - values[0]))
        assert row["val"]["p_single"] == pytest.approx(p)
        assert row["val"]["p_value"] == pytest.approx(corrected)
        assert row["val"]["within_noise"] == (corrected >= 0.05)
    assert group["studies"][0]["val"]["p_value"] is None
    assert "val_macro_f1: gloss is 0.0" in group["verdicts"][0]
    assert "corrected for 2 comparisons, n = 6" in group["verdicts"][0]


def test_only_common_seeds_are_compared(url: str) -> None:
    a, b = (make(url, loss, loss=loss) for loss in ("ce", "gloss"))
    one = Compared(a, 0, 0.9, {1: 0.5, 2: 0.6, 3: 0.7}, 1.0, {})
    other = Compared(b, 0, 0.9, {2: 0.7, 3: 0.9, 4: 0.1}, 1.0, {})
    (group,) = compare([one, other])["groups"]
    assert group["studies"][1]["val"]["pairs"] == 2
    assert group["studies"][1]["val"]["difference"] == pytest.approx(0.15)
    assert group["studies"][1]["val"]["n"] == 3


def test_what_a_study_brings_is_its_confirmations(storage_url: str) -> None:
    opened = confirmed(storage_url)
    (group,) = compare([read_for_comparison(study) for study in opened])["groups"]
    assert group["unequal"] == []
    for row, study in zip(group["studies"], opened, strict=True):
        ranked = ranking(study)
        assert ranked is not None
        winner = ranked["candidates"][0]
        assert (row["val"]["n"], row["val"]["mean"], row["val"]["sd"]) == (4, winner["mean"], winner["sd"])
        assert row["best"] == winner["number"]
    # one seed list for all: the studies have the same seed
    assert [row["val"]["pairs"] for row in group["studies"]] == [0, 4, 4]


def test_differences_in_budget_are_named(url: str) -> None:
    searched(url, "ce")
    searched(url, "gloss", trials=3, seed=4)
    (group,) = compare([read_for_comparison(join(url, name)) for name in ("ce", "gloss")])["groups"]
    assert group["unequal"] == ["trials: 2 in ce, 3 in gloss", "seed: 0 in ce, 4 in gloss"]
    assert "cannot be compared yet" in group["verdicts"][0]


def test_each_data_set_and_metric_has_a_table_of_its_own(url: str) -> None:
    studies = [make(url, "a"), make(url, "b", dataset="r8"), make(url, "c", metric="val_accuracy")]
    groups = compare([read_for_comparison(study) for study in studies])["groups"]
    assert [(g["dataset"], g["metric"], g["reference"]) for g in groups] == [
        ("mr", "val_macro_f1", "a"), ("r8", "val_macro_f1", "b"), ("mr", "val_accuracy", "c"),
    ]  # fmt: skip


def test_a_confirmation_is_not_compared_by_itself(url: str) -> None:
    opened = searched(url, "ce")
    confirm(opened, 1, 2)
    child = confirmation_of(opened)
    assert child is not None
    with pytest.raises(InputError, match="compare that one"):
        read_for_comparison(child)
    assert searches(url) == ["ce"]


def test_test_results_stand_beside_validation(url: str) -> None:
    a, b = (make(url, loss, loss=loss) for loss in ("ce", "gloss"))
    test = {"accuracy": {1: 0.7, 2: 0.72}, "macro_f1": {1: 0.6, 2: 0.61}, "loss": {1: 9.0, 2: 9.0}}
    better = {"accuracy": {1: 0.71, 2: 0.74}, "macro_f1": {1: 0.6, 2: 0.61}}
    (group,) = compare([given(a, 0.5, 0.6, test=test), given(b, 0.6, 0.8, test=better)])["groups"]
    row = group["studies"][1]
    assert row["test_accuracy"]["difference"] == pytest.approx(0.015)
    assert row["test_macro_f1"]["difference"] == 0
    assert any(verdict.startswith("test_accuracy: gloss is 0.0150 above ce") for verdict in group["verdicts"])
    assert "test_macro_f1: gloss is level with ce: within noise" in " ".join(group["verdicts"])


def test_the_command_prints_what_was_compared(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for loss in ("ce", "gloss"):
        searched(url, loss)
    command = {"studies": ["gloss", "ce"], "storage": url, "test": False}
    command |= {"device": "auto", "threads": None, "data_dir": None, "artifacts": None}
    compare_command(**command, format=CompareFormat.table, output=None)
    printed = capsys.readouterr().out
    assert "not confirmed" in printed
    assert "cannot be compared yet" in printed
    compare_command(**command, format=CompareFormat.json, output=tmp_path / "a.json")
    (group,) = json.loads((tmp_path / "a.json").read_text())["groups"]
    assert [row["study"] for row in group["studies"]] == ["gloss", "ce"]
    compare_command(**command, format=CompareFormat.csv, output=tmp_path / "a.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert [row["loss"] for row in rows] == ["gloss", "ce"]
    compare_command(**command, format=CompareFormat.table, output=tmp_path / "a.md")
    assert "| gloss | gloss |" in (tmp_path / "a.md").read_text()
