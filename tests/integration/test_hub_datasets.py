"""``--dataset hf:…`` from the command line and from Python, by the real library against a Hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.encoder.stub_data_hub import StubDataHub

datasets = pytest.importorskip("datasets", reason="needs the extra 'hub'")

FIRST, SECOND = "a" * 40, "b" * 40
CONFIGS = """---
configs:
- config_name: one
  data_files: [{split: train, path: one/train-*}, {split: validation, path: one/validation-*}]
- config_name: two
  data_files: [{split: train, path: two/train-*}]
---
"""


def split(path: Path, texts: str, number: int = 20) -> None:
    """Rows with title, body and a ClassLabel of Parquet, as the library writes them."""
    features = datasets.Features(
        {"title": datasets.Value("string"), "body": datasets.Value("string"),
         "label": datasets.ClassLabel(names=["no", "yes"])}
    )  # fmt: skip
    rows = {
        "title": [f"{texts} {i}" for i in range(number)],
        "body": [f"body {i}" for i in range(number)],
        "label": [i % 2 for i in range(number)],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(path))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StubDataHub]:
    root = tmp_path_factory.mktemp("hub")
    for commit in (FIRST, SECOND):
        split(root / commit / "data" / "train-00000-of-00001.parquet", f"train {commit[0]}")
        split(root / commit / "data" / "validation-00000-of-00001.parquet", "val", 6)
        split(root / commit / "data" / "test-00000-of-00001.parquet", "test", 6)
    several = root / "several"
    for name in ("one", "two"):
        split(several / name / "train-00000-of-00001.parquet", f"train {name}")
    split(several / "one" / "validation-00000-of-00001.parquet", "val", 6)
    (several / "README.md").write_text(CONFIGS)
    (root / "code").mkdir()
    (root / "code" / "code.py").write_text("raise SystemExit")
    split(root / "odd" / "data" / "test-00000-of-00001.parquet", "test")
    found = StubDataHub(
        {"own/set": {FIRST: root / FIRST, SECOND: root / SECOND}, "own/several": {FIRST: several},
         "own/code": {FIRST: root / "code"}, "own/odd": {FIRST: root / "odd"}, "own/gated": {FIRST: root / FIRST}},
        gated=("own/gated",),
    )  # fmt: skip
    yield found
    found.close()


def call(
    hub: StubDataHub, home: Path, *arguments: str, offline: bool = False
) -> subprocess.CompletedProcess[str]:
    home.mkdir(exist_ok=True)
    environment = {
        **os.environ, "HF_ENDPOINT": "http://127.0.0.1:9" if offline else hub.url, "HF_HOME": str(home / "hf"),
        "HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
        "GLOSS_TUNE_CACHE": str(home / "cache"), "HF_TOKEN": "",
    }  # fmt: skip
    command = [sys.executable, "-m", "gloss_tune", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, cwd=home)


def show(hub: StubDataHub, home: Path, name: str, **how: Any) -> dict[str, Any]:
    ran = call(hub, home, "datasets", "show", name, "--text-column", "title,body", "--format", "json", **how)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.slow
def test_class_names_joined_columns_and_splits_at_one_commit_then_offline(
    hub: StubDataHub, tmp_path: Path
) -> None:
    newest = show(hub, tmp_path, "hf:own/set")
    assert newest["source"] == f"hf:own/set@{SECOND}"
    assert list(newest["classes"]) == ["no", "yes"]
    assert newest["sizes"] == {"train": 20, "val": 6, "test": 6}
    assert newest["columns"] == ["title", "body", "label"]
    assert show(hub, tmp_path, "hf:own/set", offline=True) == newest
    assert show(hub, tmp_path, f"hf:own/set@{SECOND}", offline=True) == newest
    older = show(hub, tmp_path, f"hf:own/set@{FIRST}")
    assert older["source"] == f"hf:own/set@{FIRST}"
    assert older["fingerprint"] != newest["fingerprint"]


@pytest.mark.slow
def test_a_configuration_and_a_val_held_out(hub: StubDataHub, tmp_path: Path) -> None:
    assert show(hub, tmp_path, "hf:several/one")["sizes"] == {"train": 20, "val": 6, "test": None}
    assert show(hub, tmp_path, "hf:several/two")["val"] == "held out of train"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hf:own/nothing", "The Hub has no data set 'hf:own/nothing'"),
        ("hf:own/set@nowhere", "no revision 'nowhere'"),
        ("hf:several/three", "Name one of its configurations"),
        ("hf:several", "Name one of its configurations"),
        ("hf:own/code", "code of its own (code.py)"),
        ("hf:own/odd", "has a split train, but"),
        ("hf:own/gated", "Accept its terms"),
        ("hf:own/set", "has no column 'text'; it has 'title', 'body', 'label'"),
    ],
)  # fmt: skip
def test_refused_before_anything_is_written(hub: StubDataHub, tmp_path: Path, name: str, said: str) -> None:
    ran = call(hub, tmp_path, "create", "--dataset", name, "--trials", "2")
    assert ran.returncode == 2, ran.stderr
    assert said in " ".join(ran.stderr.split())
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "gloss-tune.db").exists()


@pytest.mark.slow
def test_without_network(hub: StubDataHub, tmp_path: Path) -> None:
    ran = call(hub, tmp_path, "create", "--dataset", "hf:own/set", offline=True)
    assert (ran.returncode, "the Hub does not answer" in " ".join(ran.stderr.split())) == (2, True), (
        ran.stderr
    )


def test_a_folder_of_its_parquet_files_has_the_class_names_too(hub: StubDataHub, tmp_path: Path) -> None:
    folder = hub.repositories["own/set"][SECOND]
    read = show(hub, tmp_path, str(folder))
    assert list(read["classes"]) == ["no", "yes"]
    assert read["fingerprint"] == show(hub, tmp_path, "hf:own/set")["fingerprint"]
