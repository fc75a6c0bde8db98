"""How much a study keeps on disk, and how ``status`` says it."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gloss_tune.cli.options import Format
from gloss_tune.cli.status import status as status_command
from gloss_tune.workers.artifacts.trial_files import sizes
from tests.integration.studies import FILES, make


def write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    folder = tmp_path / "gloss-tune-artifacts"
    for name, size in {
        f"checkpoints/{FILES}/trial-3.attempt-1.ckpt": 1000,
        f"checkpoints/{FILES}/trial-12.attempt-2.ckpt": 2000,
        f"checkpoints/{FILES}/.trial-12.attempt-2.ckpt.x1.part": 500,
        f"models/{FILES}/trial-3/model.safetensors": 30_000,
        f"models/{FILES}/trial-3/1_Pooling/config.json": 200,
        f"models/{FILES}/.trial-4.attempt-1.x1.part/model.safetensors": 70,
        "checkpoints/another/trial-3.attempt-1.ckpt": 5,
        "models/another/trial-3/model.safetensors": 6,
        "0f3b": 7,
    }.items():
        write(folder / name, size)
    return folder


def test_this_studys_files_are_counted_and_all_others_summed(artifacts: Path) -> None:
    assert sizes(artifacts, FILES) == {
        "folder": str(artifacts),
        "checkpoints": {"count": 2, "bytes": 3500},
        "models": {"count": 1, "bytes": 30_270},
        "other_bytes": 18,
    }


def test_links_are_not_followed(artifacts: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "large", 1_000_000)
    (artifacts / "models" / FILES / "trial-9").symlink_to(tmp_path / "elsewhere")
    (artifacts / "loop").symlink_to(artifacts)
    found = sizes(artifacts, FILES)
    assert found is not None
    assert found["models"]["bytes"] < 31_000
    assert found["other_bytes"] < 1000


def test_without_a_folder_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert sizes(tmp_path / "none", FILES) is None
    (tmp_path / "file").write_text("x")
    assert sizes(tmp_path / "file", FILES) is None
    (tmp_path / "empty").mkdir()
    assert sizes(tmp_path / "empty", FILES) == {
        "folder": str(tmp_path / "empty"),
        "checkpoints": {"count": 0, "bytes": 0},
        "models": {"count": 0, "bytes": 0},
        "other_bytes": 0,
    }


def test_files_that_come_and_go_meanwhile_do_no_harm(tmp_path: Path) -> None:
    stop, failed = threading.Event(), list[BaseException]()

    def churn() -> None:
        try:
            while not stop.is_set():
                for number in range(20):
                    write(tmp_path / "checkpoints" / FILES / f"trial-{number}.attempt-1.ckpt", 10)
                    write(tmp_path / "models" / FILES / f"trial-{number}" / "weights", 10)
                shutil.rmtree(tmp_path / "checkpoints")
                shutil.rmtree(tmp_path / "models")
        except BaseException as error:
            failed.append(error)

    busy = threading.Thread(target=churn)
    busy.start()
    try:
        seen = set()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            found = sizes(tmp_path, FILES)
            assert found is not None
            seen.add(found["models"]["count"])
    finally:
        stop.set()
        busy.join()
    assert failed == []
    assert len(seen) > 2  # it was seen at work


def test_thousands_of_files_are_counted_quickly(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"{number:x}").touch()
    start = time.monotonic()
    assert sizes(tmp_path, FILES) is not None
    assert time.monotonic() - start < 1


def shown(capsys: pytest.CaptureFixture[str], url: str, **options: Any) -> str:
    status_command(storage=url, study="study", **options)
    return capsys.readouterr().out


def test_status_says_it(artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    make(url)
    assert json.loads(shown(capsys, url, format=Format.json))["artifacts"] == sizes(artifacts, FILES)
    table = shown(capsys, url)
    assert f"\nartifacts {artifacts}: 2 checkpoints 3.5 kB, 1 model 30 kB, other files 18 B\n" in table


def test_status_looks_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    make(url)
    assert json.loads(shown(capsys, url, format=Format.json))["artifacts"] is None
    assert "artifacts" not in shown(capsys, url)
    (tmp_path / "mine").mkdir()
    assert f"artifacts {tmp_path / 'mine'}: empty" in shown(capsys, url, artifacts=tmp_path / "mine")
