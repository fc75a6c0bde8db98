"""From a study to a model: real trainings of a tiny encoder, and their results reproduced from the folder alone."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

import gloss_tune
from gloss_tune.confirm.confirmation import confirm, confirmed_best
from gloss_tune.data import load_dataset
from gloss_tune.errors import GlossTuneError, InputError, StudyMismatchError
from gloss_tune.finetune.loop import Finetune
from gloss_tune.retrain import retrain as retrain_module
from gloss_tune.retrain.retrain import RetrainOptions, retrain
from gloss_tune.signals import StopFlag
from gloss_tune.spec.build import build_spec
from gloss_tune.study.create import create
from gloss_tune.study.results import best_trial
from gloss_tune.study.study import OpenStudy, open_study
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.worker import work
from tests.conftest import CommandLine
from tests.integration.studies import make
from tests.unit.finetune.tiny import write_encoder

N_TRAIN, N_STUDIED, N_TEST = 60, 40, 50


def write_data(folder: Path, splits: dict[str, int]) -> Path:
    """Documents of words whose first one gives the class away, but for one in five."""
    folder.mkdir(parents=True)
    draw = random.Random(0)
    for split, count in splits.items():
        rows = []
        for i in range(count):
            label = i % 2
            first = "ab"[label if draw.random() < 0.8 else 1 - label]
            rest = " ".join(draw.choice("cdef") + str(draw.randrange(6)) for _ in range(draw.randrange(2, 9)))
            rows.append([f"{first}{draw.randrange(6)} {rest}", ["no", "yes"][label]])
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["text", "label"], *rows])
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with data, encoder, and a finished study of two trials on a part of the training documents."""
    folder = tmp_path_factory.mktemp("place")
    write_data(folder / "words", {"train": N_TRAIN, "val": 24, "test": N_TEST})
    write_encoder(folder / "encoder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOSS_TUNE_CACHE", str(folder / "cache"))
        finish(folder, "words", max_train_docs=N_STUDIED)
        yield folder


def finish(folder: Path, dataset: str, name: str | None = None, **layer: Any) -> None:
    """Make a study of two trials on the storage in ``folder`` and run them."""
    train = {"batch_size": 8, "max_length": 16, "epochs": 2, "head_learning_rate": 0.1}
    base = {"dataset": str(folder / dataset), "model": str(folder / "encoder"), "trials": 2, "pruner": "none"}
    storage = f"sqlite:///{folder}/study.db"
    opened = create(build_spec({**base, "train": train, **layer}), storage, name or dataset).study
    options = WorkerOptions(device="cpu", threads=1, artifacts=folder / "artifacts")
    assert work(opened, options, StopFlag()).trials == 2
    opened.storage.remove_session()
    opened.storage.engine.dispose()


@pytest.fixture
def opened(place: Path) -> OpenStudy:
    return open_study(f"sqlite:///{place}/study.db", "words", read_only=True)


def run(opened: OpenStudy, output: Path, stop: StopFlag | None = None, **options: Any) -> dict[str, Any]:
    options = {"device": "cpu", "threads": 1, **options}
    return retrain(opened, RetrainOptions(output, **options), stop or StopFlag())


@pytest.fixture(scope="module")
def trained(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A model of three seeds, and what was said of it."""
    folder = tmp_path_factory.mktemp("models") / "deep" / "model"
    study = open_study(f"sqlite:///{place}/study.db", "words", read_only=True)
    try:
        return folder, run(study, folder, seeds=3)
    finally:
        study.storage.remove_session()
        study.storage.engine.dispose()


def test_documents(place: Path) -> tuple[list[str], list[str]]:
    """Texts and labels, in the order of the file."""
    with (place / "words" / "test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["label"] for row in rows]


test_documents.__test__ = False  # type: ignore[attr-defined]


# ── the result ──


def test_python_reproduces_the_reported_metrics_exactly(
    place: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    folder, result = trained
    texts, labels = test_documents(place)
    predicted = gloss_tune.load_classifier(folder, device="cpu").predict(texts)
    assert result["test"]["accuracy"] == accuracy_score(labels, predicted)
    assert result["test"]["macro_f1"] == pytest.approx(
        f1_score(labels, predicted, average="macro"), abs=1e-15
    )
    assert result["confusion_matrix"] == confusion_matrix(labels, predicted).tolist()
    assert len(set(predicted)) == 2  # not one class for all


def test_sentence_transformers_loads_the_folder(place: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = trained
    texts, _ = test_documents(place)
    model = SentenceTransformer(str(folder), device="cpu")
    assert model.max_seq_length == 16
    assert np.isfinite(model.encode(texts[:3])).all()


def test_it_trains_on_all_documents_with_the_best_parameters(
    opened: OpenStudy, trained: tuple[Path, dict[str, Any]]
) -> None:
    _, result = trained
    best = best_trial(opened)
    assert best is not None
    assert result["trial"] == best.number
    assert result["params"].items() >= best.params.items()
    assert result["confirmed"] is None
    sizes = result["dataset"]
    assert (sizes["n_train"], sizes["n_train_of"], sizes["n_train_in_study"], sizes["n_test"]) == (
        N_TRAIN, N_TRAIN, N_STUDIED, N_TEST,
    )  # fmt: skip


def test_on_what_the_study_had_it_repeats_the_trial_to_the_last_bit(
    opened: OpenStudy, tmp_path: Path
) -> None:
    result = run(opened, tmp_path / "model", trial=1, max_train_docs=N_STUDIED)
    assert result["seed"] == opened.spec.seed
    assert result["value"] == opened.storage.get_all_trials(opened.study_id)[1].value
    assert result["over_seeds"]["test"]["accuracy"] == {"mean": result["test"]["accuracy"], "sd": None}


def test_the_best_in_validation_is_written_and_all_are_told(trained: tuple[Path, dict[str, Any]]) -> None:
    _, result = trained
    seeds = result["seeds"]
    assert seeds[0]["seed"] == 0
    assert len({row["seed"] for row in seeds}) == 3
    (saved,) = [row for row in seeds if row["saved"]]
    assert saved["value"] == max(row["value"] for row in seeds)
    assert (saved["test"], saved["seed"]) == (result["test"], result["seed"])
    values = [row["test"]["accuracy"] for row in seeds]
    told = result["over_seeds"]["test"]["accuracy"]
    assert told["mean"] == pytest.approx(np.mean(values))
    assert told["sd"] == pytest.approx(np.std(values, ddof=1))


def test_the_description_says_what_was_returned(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, result = trained
    said = json.loads((folder / "gloss_tune.json").read_text())
    assert {key: said[key] for key in result if key != "output"} == {
        key: value for key, value in result.items() if key != "output"
    }
    assert said["classes"] == ["no", "yes"]
    assert said["precision"] in ("float32", "bfloat16")
    assert str(folder.parent) not in json.dumps(said)


def test_the_card_is_read_by_the_hub_and_names_no_path(
    place: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    folder, result = trained
    text = (folder / "README.md").read_text()
    card = ModelCard(text)
    (result_of_accuracy, result_of_f1) = card.data.eval_results
    assert (result_of_accuracy.metric_type, result_of_accuracy.metric_value) == (
        "accuracy", result["test"]["accuracy"],
    )  # fmt: skip
    assert result_of_f1.metric_value == result["test"]["macro_f1"]
    front = yaml.safe_load(text.split("---\n")[1])
    assert (front["library_name"], front["pipeline_tag"]) == ("sentence-transformers", "text-classification")
    assert front["datasets"] == ["words"]
    assert "base_model" not in front  # a folder of this machine
    assert str(place) not in text
    assert f"Trained on all {N_TRAIN} training documents" in text
    for row in result["seeds"]:
        assert f"| {row['seed']} |" in text


def test_the_winner_of_a_confirmation_is_trained(place: Path, tmp_path: Path) -> None:
    finish(place, "words", name="doubted", max_train_docs=N_STUDIED)
    study = open_study(f"sqlite:///{place}/study.db", "doubted")
    runs = confirm(study, 2, 2).study
    assert (
        work(
            runs, WorkerOptions(device="cpu", threads=1, artifacts=tmp_path / "artifacts"), StopFlag()
        ).trials
        == 4
    )
    winner = confirmed_best(study)
    assert winner is not None
    result = run(study, tmp_path / "model", confirmed=True)
    by_default = run(study, tmp_path / "again")
    assert [by_default[key] for key in ("trial", "value", "test")] == [
        result[key] for key in ("trial", "value", "test")
    ]
    assert result["trial"] == winner["number"]
    assert result["params"].items() >= winner["params"].items()
    assert result["confirmed"] == {"n": 2, "mean": winner["mean"], "sd": winner["sd"]}
    assert "with 2 fresh seeds" in (tmp_path / "model" / "README.md").read_text()
    assert run(study, tmp_path / "other", trial=1 - winner["number"])["confirmed"] is None
    with pytest.raises(InputError, match="is the confirmation of 'doubted'"):
        run(runs, tmp_path / "none")


def test_a_fixed_setting_of_the_search_is_still_fixed(
    opened: OpenStudy, trained: tuple[Path, dict[str, Any]]
) -> None:
    _, result = trained
    assert set(result["searched"]) == set(opened.spec.space)
    assert result["params"]["head_learning_rate"] == 0.1


def test_without_test_documents_there_is_a_model_and_no_result(place: Path, tmp_path: Path) -> None:
    write_data(place / "untested", {"train": 40, "val": 12})
    finish(place, "untested")
    study = open_study(f"sqlite:///{place}/study.db", "untested", read_only=True)
    result = run(study, tmp_path / "model", seeds=2)
    assert result["test"] is result["per_class"] is result["over_seeds"]["test"] is None
    assert "no test documents" in (tmp_path / "model" / "README.md").read_text()
    assert len(gloss_tune.load_classifier(tmp_path / "model").predict(["a1 b2"])) == 1


# ── what is refused before anything is trained ──


@pytest.fixture
def never_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def epochs(self: Finetune) -> Iterator[Any]:
        raise AssertionError("trained")

    monkeypatch.setattr(Finetune, "epochs", epochs)


@pytest.mark.usefixtures("never_trained")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trial": 7}, "has no trial 7"),
        ({"confirmed": True}, "no confirmed setting; run 'gloss-tune confirm'"),
        ({"confirmed": True, "trial": 0}, "give one of the two"),
        ({"device": "cuda:99"}, "cannot be used"),
    ],
)
def test_wrong_wishes_are_refused(
    opened: OpenStudy, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        run(opened, tmp_path / "model", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("never_trained")
def test_folders_that_cannot_be_written_are_refused(opened: OpenStudy, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("kept")
    (tmp_path / "file").write_text("kept")
    for name, said in [
        ("full", "is not empty"),
        ("file", "is a file"),
        ("file/model", "cannot be written"),
        ("x" * 250, "longer than"),
    ]:
        with pytest.raises(InputError, match=said):
            run(opened, tmp_path / name)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["file", "full", "full/mine"]


@pytest.mark.usefixtures("never_trained")
def test_other_data_and_other_weights_are_refused(
    opened: OpenStudy, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = load_dataset(str(write_data(tmp_path / "words", {"train": N_TRAIN, "val": 23, "test": N_TEST})))
    monkeypatch.setattr(retrain_module, "study_dataset", lambda spec, data_dir, **_: other)
    with pytest.raises(StudyMismatchError, match=r"dataset\.fingerprint"):
        run(opened, tmp_path / "model")


@pytest.mark.usefixtures("never_trained")
def test_a_rehearsal_has_nothing_to_retrain(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a rehearsal"):
        run(make(url), tmp_path / "model")


# ── broken off ──


def test_a_signal_during_the_training_leaves_nothing(
    gloss_tune_cli: CommandLine, place: Path, tmp_path: Path
) -> None:
    storage = f"sqlite:///{place}/study.db"
    process = gloss_tune_cli.popen(
        "retrain", "--storage", storage, "--study", "words", "--output", "here/model", "--seeds", 1000,
        "--device", "cpu", env={"GLOSS_TUNE_CACHE": str(place / "cache")},
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "epoch 2" in line:
            break
    os.kill(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (130, ""), stderr
    assert "nothing was written" in stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("when", ["write_description", "model_card"])
def test_what_cannot_be_finished_is_removed(
    opened: OpenStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(retrain_module, when, full)
    with pytest.raises(GlossTuneError, match="No space left") as caught:
        run(opened, tmp_path / "model")
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_signal_while_the_model_is_measured_leaves_nothing(
    opened: OpenStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = StopFlag()
    monkeypatch.setattr(retrain_module, "model_card", lambda *arguments: stop.set(signal.SIGINT) or "a card")
    with pytest.raises(GlossTuneError, match="nothing was written"):
        run(opened, tmp_path / "model", stop)
    assert list(tmp_path.iterdir()) == []


# ── the command line ──


def test_the_commands_reproduce_the_reported_metrics_exactly(
    gloss_tune_cli: CommandLine, place: Path, tmp_path: Path
) -> None:
    environment = {"GLOSS_TUNE_CACHE": str(place / "cache"), "GLOSS_TUNE_THREADS": "1"}
    storage = f"sqlite:///{place}/study.db"
    study = ("--storage", storage, "--study", "words", "--device", "cpu")
    (tmp_path / "empty").mkdir()
    made = gloss_tune_cli("retrain", *study, "--output", "empty", "--format", "json", env=environment)
    result = json.loads(made.stdout)
    assert result["output"] == "empty"
    _, labels = test_documents(place)
    predicted = gloss_tune_cli(
        "predict", "--model", "empty", "--device", "cpu", place / "words" / "test.csv", env=environment
    )
    rows = list(csv.DictReader(io.StringIO(predicted.stdout)))
    assert accuracy_score(labels, [row["label"] for row in rows]) == result["test"]["accuracy"]
    assert list(rows[0]) == ["label", "probability_no", "probability_yes"]


# ── in the report ──


def test_a_report_shows_errors_and_embeddings_of_the_model(
    opened: OpenStudy, place: Path, trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    from gloss_tune.report import ReportOptions, write_report

    write_report(opened, ReportOptions(tmp_path / "report", place / "artifacts", trained[0], publish=False))
    drawn = {path.stem for path in (tmp_path / "report" / "pictures").iterdir()}
    assert {"confusion", "map"} <= drawn


def test_the_confusion_matrix_of_a_trial_is_that_of_its_best_epoch(opened: OpenStudy, place: Path) -> None:
    """Its diagonal over its sum is the accuracy that the trial reported for the validation documents."""
    from gloss_tune.report.facts import gather
    from gloss_tune.report.writing import _confusion

    for trial in gather(opened).trials:
        found = _confusion(gather(opened), place / "artifacts", trial.number)
        assert found is not None
        classes, matrix = found
        assert classes == ["no", "yes"]
        assert matrix.sum() == 24
        assert np.trace(matrix) / 24 == trial.user_attrs["metrics"]["val_accuracy"]


def test_embeddings_before_and_after_are_those_of_both_encoders(
    opened: OpenStudy, place: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    from gloss_tune.report.embedding_map import embed_before_and_after

    both = embed_before_and_after(opened, trained[0])
    val = load_dataset(str(place / "words")).val
    assert both.labels.tolist() == val.labels.tolist()
    for found, folder in ((both.before, place / "encoder"), (both.after, trained[0])):
        model = SentenceTransformer(str(folder), device="cpu")
        model.max_seq_length = 16
        expected = np.asarray(model.encode(list(val.texts)), dtype=np.float64)
        cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
        assert cosine.min() > 0.999  # bfloat16 where the machine computes it
    assert not np.allclose(both.before, both.after)


# ── compared on the test documents ──


def test_the_test_documents_are_looked_at_once(
    opened: OpenStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gloss_tune.retrain import final_test as final_tests

    found = final_tests.final_test(opened, tmp_path, 2, StopFlag(), device="cpu", threads=1)
    assert [len(found[name]) for name in ("accuracy", "macro_f1")] == [2, 2]
    (folder,) = (tmp_path / "final").iterdir()
    told = json.loads((folder / "gloss_tune.json").read_text())
    assert found["accuracy"] == {run["seed"]: run["test"]["accuracy"] for run in told["seeds"]}
    assert told["dataset"]["n_train"] == N_STUDIED  # on the documents that were compared

    monkeypatch.setattr(final_tests, "retrain", lambda *_: pytest.fail("trained again"))
    assert final_tests.final_test(opened, tmp_path, 2, StopFlag()) == found


# ── within a time ──


def test_after_the_deadline_only_the_first_epoch_is_trained(opened: OpenStudy, tmp_path: Path) -> None:
    result = run(opened, tmp_path / "model", deadline=time.monotonic() - 1)
    assert [seed["epochs"] for seed in result["seeds"]] == [1]
    assert result["test"]["accuracy"] == result["seeds"][0]["test"]["accuracy"]


def test_time_that_is_left_trains_further_seeds(
    opened: OpenStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrain_module, "_MOST_FURTHER", 3)
    result = run(opened, tmp_path / "model", deadline=time.monotonic() + 1000)
    assert len({seed["seed"] for seed in result["seeds"]}) == 3
    assert result["over_seeds"]["n"] == 3
    assert result["over_seeds"]["test"] is not None
