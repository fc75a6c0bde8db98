"""``run --output``: from a user's file to a model, with a real encoder, though a tiny one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gloss_tune.cli import app
from gloss_tune.data import load_dataset
from gloss_tune.pipeline.imbalance import balanced
from gloss_tune.spec.build import build_spec
from tests.unit.finetune.tiny import WORDS, write_encoder

pytestmark = [pytest.mark.timeout(120), pytest.mark.prepared]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def rare(tmp_path: Path) -> Path:
    """Sixty documents, four of them of a class of its own words."""
    path = tmp_path / "rare.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(60):
            few = number % 15 == 0
            writer.writerow([f"{WORDS[14 if few else number % 5]} {WORDS[5 + number % 7]} {number}", few])
    return path


def run(rare: Path, encoder: Path, output: Path, *more: str) -> tuple[dict, str]:
    """What it exported, and what it said."""
    storage = f"sqlite:///{output.parent / 'study.db'}"
    arguments = [
        "--dataset", str(rare), "--model", str(encoder), "--output", str(output), "--storage", storage, "--trials", "2",
        "--epochs", "2", "--batch-size", "16", "--max-length", "16", "--threads", "1", "--device", "cpu",
        "--artifacts", str(output.parent / "artifacts"), *more,
    ]  # fmt: skip
    done = CliRunner().invoke(app, ["run", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads((output / "best.json").read_text()), done.output


def test_rare_classes_count_for_more_unless_told_otherwise(rare: Path, encoder: Path, tmp_path: Path) -> None:
    exported, said = run(rare, encoder, tmp_path / "out")
    assert exported["best"]["params"]["class_weights"] == "balanced"
    assert "documents of rare classes count for more" in said
    assert said.count("Exported is the winner") == 1
    assert (tmp_path / "out" / "model" / "README.md").is_file()
    assert (tmp_path / "out" / "report.md").is_file()


@pytest.mark.slow
def test_what_the_user_says_holds(rare: Path, encoder: Path, tmp_path: Path) -> None:
    exported, _ = run(rare, encoder, tmp_path / "out", "--class-weights", "none")
    assert exported["best"]["params"]["class_weights"] == "none"


@pytest.mark.parametrize(
    ("metric", "few", "chosen"),
    [
        ("val_macro_f1", 3, {"class_weights": "balanced"}),
        ("val_mcc", 3, {"class_weights": "balanced"}),
        ("val_macro_f1", 12, {}),
        ("val_accuracy", 3, {}),
        ("val_auc", 3, {}),
    ],
)
def test_where_the_metric_counts_classes_alike_and_they_are_unequal(
    tmp_path: Path, metric: str, few: int, chosen: dict[str, str]
) -> None:
    for split, counts in (("train", {"many": 97, "few": few}), ("val", {"many": 3, "few": 1})):
        rows = [
            f"{label} {split} {number},{label}" for label, count in counts.items() for number in range(count)
        ]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *rows]))
    spec = build_spec({"dataset": str(tmp_path), "metric": metric})
    assert balanced(spec, load_dataset(str(tmp_path))) == chosen
