"""A study computes in one precision: its first worker's, on whatever machines the others are."""

from __future__ import annotations

import csv
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gloss_tune.confirm.confirmation import confirm
from gloss_tune.confirm.export import export
from gloss_tune.report.facts import gather
from gloss_tune.retrain.retrain import RetrainOptions, retrain
from gloss_tune.signals import StopFlag
from gloss_tune.spec.build import build_spec
from gloss_tune.study.create import create
from gloss_tune.study.precision import StudyPrecision, settle_precision, study_precision, unlike
from gloss_tune.study.status import status
from gloss_tune.study.study import OpenStudy, open_study
from gloss_tune.workers.lease import WorkersHere
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.runs import RealRuns
from gloss_tune.workers.worker import work
from tests.integration.studies import join, make, trial_of
from tests.unit.finetune.tiny import WORDS, write_encoder

pytestmark = [pytest.mark.timeout(120), pytest.mark.prepared]

FAST_IN_BFLOAT16 = {"float32": 150.0, "bfloat16": 550.0, "float16": 140.0}
SLOW_IN_BFLOAT16 = {"float32": 130.0, "bfloat16": 80.0}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "words"
    folder.mkdir()
    for name, count in (("train", 36), ("val", 12), ("test", 12)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for number in range(count):
                words = [WORDS[(number % 2) * 6 + number % 5], WORDS[12 + number % 7], f"{name}{number}"]
                writer.writerow([" ".join(words), "ab"[number % 2]])
    return folder


def study(url: str, data: Path, encoder: Path, **train: object) -> OpenStudy:
    layer = {
        "dataset": str(data), "model": str(encoder), "trials": 2, "pruner": "none", "sampler": "random", "lease": 30,
        "train": {"epochs": 1, "batch_size": 12, "max_length": 12, **train},
    }  # fmt: skip
    return create(build_spec(layer), url, "study").study


def machine(monkeypatch: pytest.MonkeyPatch, speeds: dict[str, float], hardware: str = "Xeon") -> None:
    monkeypatch.setattr("gloss_tune.finetune.precision.product_speeds", lambda encoder: speeds)
    monkeypatch.setattr("gloss_tune.workers.runs.hardware", lambda device: hardware)


def run_one(opened: OpenStudy) -> None:
    assert work(opened, WorkerOptions(max_trials=1, device="cpu", threads=1), StopFlag()).trials == 1


def test_the_first_comes_first_and_later_workers_follow_and_say_so(
    storage_url: str,
    data: Path,
    encoder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.INFO, "gloss_tune")
    opened = study(storage_url, data, encoder)
    assert study_precision(opened) is None
    assert status(opened)["precision"] is None
    machine(monkeypatch, SLOW_IN_BFLOAT16, "old")
    run_one(opened)
    assert study_precision(opened) == StudyPrecision("float32", "cpu", "old", 1, SLOW_IN_BFLOAT16)
    assert (
        "Computing in float32; GFLOP/s of its matrix products here: float32 130, bfloat16 80." in caplog.text
    )
    caplog.clear()

    machine(monkeypatch, FAST_IN_BFLOAT16, "new")
    run_one(join(storage_url))
    assert "as the study's first worker chose (cpu, old)" in caplog.text
    assert "here it would have been bfloat16" in caplog.text
    assert "--set train.precision=bfloat16" in caplog.text
    kept = [trial_of(opened, number).user_attrs for number in range(2)]
    assert [attributes["precision"] for attributes in kept] == ["float32", "float32"]
    assert [attributes["hardware"] for attributes in kept] == ["old", "new"]
    assert kept[1]["speeds"] == FAST_IN_BFLOAT16
    assert {attributes["threads"] for attributes in kept} == {1}
    assert status(opened)["precision"] == "float32"
    told = gather(opened).unlike
    assert told is not None
    assert "1 in float32 on cpu (new), 1 in float32 on cpu (old)" in told

    # what is compared with the search is computed as it was
    assert export(opened)["best"]["precision"] == "float32"
    child = confirm(opened, top=1, seeds=2).study
    settled = study_precision(child)
    assert settled is not None
    assert settled.precision == "float32"
    run_one(child)
    assert trial_of(child, 0).user_attrs["precision"] == "float32"
    options = RetrainOptions(tmp_path / "model", device="cpu", threads=1)
    assert retrain(opened, options, StopFlag())["precision"] == "float32"


def test_a_precision_that_the_specification_names_is_nobodys_choice(
    url: str, data: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = study(url, data, encoder, precision="bfloat16")
    machine(monkeypatch, SLOW_IN_BFLOAT16)
    run_one(opened)
    assert study_precision(opened) is None
    assert trial_of(opened, 0).user_attrs["precision"] == "bfloat16"
    assert status(opened)["precision"] == "bfloat16"


def test_many_at_once_settle_one(storage_url: str) -> None:
    make(storage_url)
    offers = [StudyPrecision("float32" if n % 2 else "bfloat16", "cpu", str(n), 1, {}) for n in range(6)]
    with ThreadPoolExecutor(len(offers)) as pool:
        settled = set(
            pool.map(lambda offer: settle_precision(open_study(storage_url), offer).hardware, offers)
        )
    assert len(settled) == 1
    found = study_precision(join(storage_url))
    assert found is not None
    assert {found.hardware} == settled


def test_a_worker_whose_torch_cannot_do_it_says_so_and_goes_on(
    url: str, data: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = study(url, data, encoder)
    settle_precision(opened, StudyPrecision("bfloat16", "cuda:0", "a card", 2))
    machine(monkeypatch, SLOW_IN_BFLOAT16)
    monkeypatch.setattr("gloss_tune.finetune.precision.computes_in", lambda precision, device: False)
    run_one(opened)
    assert "which this torch cannot do on its device: here it is float32" in caplog.text
    assert trial_of(opened, 0).user_attrs["precision"] == "float32"


def test_a_stored_choice_that_cannot_be_read_is_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = make(url)
    opened.storage.set_study_user_attr(opened.study_id, "gloss_tune:precision", {"precision": "float32"})
    offered = StudyPrecision("bfloat16", "cpu", "", 1)
    assert settle_precision(opened, offered) == offered


def test_real_runs_are_told_apart_by_their_facts(
    url: str, data: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, FAST_IN_BFLOAT16)
    opened = study(url, data, encoder)
    runs = RealRuns(opened, WorkerOptions(device="cpu", threads=1))
    assert "precision" not in runs.facts()
    runs.run(opened.spec.config({"learning_rate": 1e-3}), lambda: None, WorkersHere)
    assert runs.facts() == {
        "device": "cpu", "hardware": "Xeon", "threads": 1, "precision": "bfloat16", "speeds": FAST_IN_BFLOAT16,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ([], None),
        ([("bfloat16", "cpu", "A"), ("bfloat16", "cpu", "A"), ("", "cpu", "")], None),
        ([("bfloat16", "cuda:0", "H"), ("bfloat16", "cuda:1", "H")], None),
        ([("bfloat16", "cpu", "A"), ("bfloat16", "cpu", "B")], "may differ in rounding"),
        ([("bfloat16", "cpu", "A"), ("bfloat16", "cuda:0", "H")], "CPU and GPU round differently"),
        (
            [("float32", "cpu", "A"), ("bfloat16", "cpu", "A")],
            "different precisions are not strictly comparable",
        ),
    ],
)
def test_what_makes_machines_unlike(kinds: list[tuple[str, str, str]], said: str | None) -> None:
    found = unlike(kinds)
    assert found is None if said is None else found is not None and said in found
