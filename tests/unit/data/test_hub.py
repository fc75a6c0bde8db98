"""Names of data sets on the Hub, their commit, and what is said without the library; the library here is a stand-in."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gloss_tune.data.hub import pin
from gloss_tune.data.hub_name import HubName, is_hub_name, readings
from gloss_tune.data.loading import load_dataset
from gloss_tune.errors import DataError

COMMIT = "a" * 40


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("hf:imdb", [HubName("imdb")]),
        ("hf:a/b", [HubName("a/b"), HubName("a", "b")]),
        ("hf:a/b/c", [HubName("a/b", "c")]),
        ("hf:a/b@main", [HubName("a/b", None, "main"), HubName("a", "b", "main")]),
        ("hf:a/b/c@refs/pr/1", [HubName("a/b", "c", "refs/pr/1")]),
    ],
)  # fmt: skip
def test_what_a_name_means(asked: str, meant: list[HubName]) -> None:
    assert readings(asked) == meant
    assert str(meant[0]) == asked


@pytest.mark.parametrize("asked", ["hf:", "hf:/", "hf:a//b", "hf:a/b/c/d", "hf:a b", "hf:a/b@", "hf:../x"])
def test_no_names(asked: str) -> None:
    with pytest.raises(DataError, match="hf:OWNER/NAME"):
        load_dataset(asked)


def test_a_path_is_no_name() -> None:
    assert not is_hub_name("./hf:x")
    assert not is_hub_name(Path("hf:x"))


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GLOSS_TUNE_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'gloss-tune\[hub\]'"):
        load_dataset("hf:own/set")
    assert list(tmp_path.iterdir()) == []


def test_a_branch_is_pinned_to_its_commit_and_code_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    files = [SimpleNamespace(rfilename="data/train.parquet")]
    told = SimpleNamespace(id="own/set", sha=COMMIT, siblings=files)
    monkeypatch.setenv("GLOSS_TUNE_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: told)
    assert str(pin("hf:own/set")) == f"hf:own/set@{COMMIT}"
    assert str(pin("hf:own/set/one@main")) == f"hf:own/set/one@{COMMIT}"
    files.append(SimpleNamespace(rfilename="set.py"))
    with pytest.raises(DataError, match="code of its own"):
        pin("hf:own/set")
