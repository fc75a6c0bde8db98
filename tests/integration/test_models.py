"""The K best models: loadable, exact, as many as asked for, and never another attempt's."""

from __future__ import annotations

import dataclasses
import json
import logging
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optuna.trial import TrialState
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from gloss_tune.data import TokenizedSplit
from gloss_tune.encoder import Encoder, resolve_encoder
from gloss_tune.finetune.config import EpochReport
from gloss_tune.finetune.loop import Finetune
from gloss_tune.finetune.model_folder import DESCRIPTION, HEAD
from gloss_tune.queue.claims import Claim, claim
from gloss_tune.study.objective import Ending, ask, tell
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.artifacts import models as models_module
from gloss_tune.workers.artifacts.models import delete_model, keep_model, prune_models
from gloss_tune.workers.artifacts.trial_files import MODELS
from tests.disks import no_file_larger_than
from tests.integration.studies import FILES, METRICS, age, expire, join, make
from tests.unit.finetune.tiny import SPECIAL, WORDS, documents, write_encoder

CLASSES = ["ähnlich", "b", "c"]
TRAIN = {"epochs": 3, "max_length": 16, "batch_size": 32, "precision": "float32", "learning_rate": 3e-3}


def real(opened: OpenStudy) -> OpenStudy:
    """The study as its workers would see it if it were no rehearsal."""
    return dataclasses.replace(opened, spec=opened.spec.model_copy(update={"rehearse": False}))


def study(url: str, keep: int = 2, **layer: Any) -> OpenStudy:
    return real(make(url, keep=keep, train=TRAIN, **layer))


@pytest.fixture(scope="module")
def splits() -> tuple[TokenizedSplit, TokenizedSplit]:
    return documents(96, len(CLASSES), seed=1), documents(60, len(CLASSES), seed=2)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = write_encoder(tmp_path_factory.mktemp("encoder"))
    return Encoder.load(resolve_encoder(str(folder)), max_length=32)


@pytest.fixture(scope="module")
def run(
    encoder: Encoder,
    splits: tuple[TokenizedSplit, TokenizedSplit],
    tmp_path_factory: pytest.TempPathFactory,
) -> Finetune:
    """A fine-tune at its end; the trials of these tests share it, since their values are given."""
    spec = make(f"sqlite:///{tmp_path_factory.mktemp('config')}/study.db", train=TRAIN).spec
    config = spec.config({"mask_ratio": 0.5, "lpa_iterations": 5, "temperature": 0.1})
    made = Finetune(config, *splits, len(CLASSES), encoder)
    assert len(list(made.epochs())) == config.epochs
    return made


def ending(value: float, state: TrialState = TrialState.COMPLETE) -> Ending:
    report = EpochReport(1, {**METRICS, "val_macro_f1": value}, True)
    return Ending(state, None if state == TrialState.FAIL else value, reports=(report,))


def end(opened: OpenStudy, artifacts: Path, run: Finetune, how: Ending) -> Claim:
    """Claim the next trial and end it as a worker does."""
    claimed = claim(opened.storage, opened.study_id, "w")
    assert claimed is not None
    trial, _ = ask(opened, claimed)
    keep_model(opened, artifacts, claimed, run, how, CLASSES)
    tell(opened, trial, claimed, how, 1.0, {})
    prune_models(opened, artifacts)
    return claimed


def kept(artifacts: Path) -> list[str]:
    folder = artifacts / MODELS / FILES
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def description(artifacts: Path, number: int = 0) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(
        (artifacts / MODELS / FILES / f"trial-{number}" / DESCRIPTION).read_text()
    )
    return loaded


def texts(split: TokenizedSplit) -> list[str]:
    rows = [
        split.ids[start + 1 : end - 1] for start, end in zip(split.offsets, split.offsets[1:], strict=False)
    ]
    return [" ".join(WORDS[token - len(SPECIAL)] for token in row) for row in rows]


def accuracy_by_hand(folder: Path, split: TokenizedSplit) -> float:
    """From the folder alone, with sentence-transformers and numpy."""
    embeddings = SentenceTransformer(str(folder), device="cpu").encode(texts(split))
    head = {name: value.numpy() for name, value in load_file(folder / HEAD).items()}
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    logits = unit @ head["weight"].T + head["bias"]
    return float((logits.argmax(axis=1) == split.labels).mean())


# ── what is kept ──


def test_the_folder_alone_classifies_as_the_best_epoch_did(
    tmp_path: Path, run: Finetune, encoder: Encoder, splits: tuple[TokenizedSplit, TokenizedSplit]
) -> None:
    opened = study(f"sqlite:///{tmp_path}/study.db")
    assert run.best is not None
    with torch.no_grad():
        run.head.weight.zero_()  # the weights of some other epoch
    end(opened, tmp_path, run, ending(run.best.metrics["val_macro_f1"]))
    folder = tmp_path / MODELS / FILES / "trial-0"
    assert accuracy_by_hand(folder, splits[1]) == pytest.approx(run.best.metrics["val_accuracy"], abs=1e-9)
    assert run.best.metrics["val_accuracy"] > 1.5 / len(CLASSES)
    head = load_file(folder / HEAD)
    assert (head["weight"].shape, head["bias"].shape) == ((3, encoder.dimension), (3,))
    assert SentenceTransformer(str(folder), device="cpu").max_seq_length == TRAIN["max_length"]
    assert encoder.model.max_seq_length == 32  # the next trial's encoder is as it was


def test_the_description_says_all_that_is_needed_to_use_it(tmp_path: Path, run: Finetune) -> None:
    opened = study(f"sqlite:///{tmp_path}/study.db")
    end(opened, tmp_path, run, ending(0.75))
    said = description(tmp_path)
    assert run.best is not None
    assert (said["study"], said["trial"], said["attempt"], said["value"]) == ("study", 0, 1, 0.75)
    assert said["epoch"] == run.best.epoch
    assert said["metrics"] == run.best.metrics
    assert said["classes"] == CLASSES
    assert said["dataset"].keys() >= {"name", "fingerprint"}
    assert said["versions"].keys() >= {"gloss-tune", "torch", "sentence-transformers"}
    for name, value in said["params"].items():
        assert getattr(run.config, name) == value
    assert set(said["searched"]) == set(opened.spec.space)


def test_the_k_best_are_there_after_every_trial(storage_url: str, tmp_path: Path, run: Finetune) -> None:
    opened = study(storage_url, keep=3, trials=14)
    drawn = random.Random(5)
    values: list[tuple[float, int]] = []
    for number in range(14):
        value = drawn.choice([0.5, 0.6, 0.7, 0.8, 0.9])
        end(opened, tmp_path, run, ending(value))
        values.append((-value, number))
        assert kept(tmp_path) == sorted(f"trial-{best}" for _, best in sorted(values)[:3])


def test_a_worse_trial_is_not_even_written(
    tmp_path: Path, run: Finetune, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    write = models_module.write_model
    monkeypatch.setattr(
        models_module, "write_model", lambda folder, *rest: (written.append(folder), write(folder, *rest))
    )
    opened = study(f"sqlite:///{tmp_path}/study.db", keep=1)
    for value in (0.7, 0.6, 0.7, 0.8):
        end(opened, tmp_path, run, ending(value))
    assert len(written) == 2
    assert kept(tmp_path) == ["trial-3"]


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAIL])
def test_only_complete_trials_have_models(state: TrialState, tmp_path: Path, run: Finetune) -> None:
    opened = study(f"sqlite:///{tmp_path}/study.db")
    end(opened, tmp_path, run, ending(0.9, state))
    assert kept(tmp_path) == []


def test_without_the_option_and_in_rehearsals_nothing_is_kept(tmp_path: Path, run: Finetune) -> None:
    for name, opened in {
        "none": study(f"sqlite:///{tmp_path}/none.db", keep=0),
        "rehearsal": make(f"sqlite:///{tmp_path}/rehearsal.db", keep=2),
    }.items():
        end(opened, tmp_path / name, run, ending(0.9))
        assert not (tmp_path / name).exists()


# ── trouble ──


@pytest.mark.parametrize("size", [200, 2_000, 20_000, 60_000])
def test_a_full_disk_costs_the_model_and_not_the_trial(
    size: int, tmp_path: Path, run: Finetune, caplog: pytest.LogCaptureFixture
) -> None:
    opened = study(f"sqlite:///{tmp_path}/study.db")
    how, claimed = ending(0.9), claim(opened.storage, opened.study_id, "w")
    assert claimed is not None
    with caplog.at_level(logging.WARNING), no_file_larger_than(size):
        keep_model(opened, tmp_path / "artifacts", claimed, run, how, CLASSES)
    assert "Trial 0: its model could not be kept" in caplog.text
    assert kept(tmp_path / "artifacts") == []
    trial, _ = ask(opened, claimed)
    tell(opened, trial, claimed, how, 1.0, {})
    assert end(opened, tmp_path / "artifacts", run, ending(0.8)).number == 1
    assert kept(tmp_path / "artifacts") == ["trial-1"]


def test_a_folder_that_cannot_be_made_costs_no_trial(
    tmp_path: Path, run: Finetune, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "artifacts").write_text("not a folder")
    opened = study(f"sqlite:///{tmp_path}/study.db")
    end(opened, tmp_path / "artifacts", run, ending(0.9))
    assert "its model could not be kept" in caplog.text


# ── attempts ──


def two_attempts(opened: OpenStudy) -> tuple[Claim, Claim]:
    """The same trial, of a worker that lost its lease and of its successor."""

    late = claim(opened.storage, opened.study_id, "late")
    age(opened, 0, 1000)
    assert expire(opened.storage, opened.study_id, 30, 10) == [0]
    heir = claim(opened.storage, opened.study_id, "heir")
    assert late is not None
    assert heir is not None
    assert (late.number, heir.number, heir.attempt) == (0, 0, 2)
    return late, heir


def test_a_successor_replaces_what_a_lost_attempt_wrote(tmp_path: Path, run: Finetune) -> None:
    opened = study(f"sqlite:///{tmp_path}/study.db")
    late, heir = two_attempts(opened)
    keep_model(opened, tmp_path, late, run, ending(0.9), CLASSES)
    assert description(tmp_path)["attempt"] == 1
    keep_model(opened, tmp_path, heir, run, ending(0.9), CLASSES)
    assert description(tmp_path)["attempt"] == 2
    delete_model(opened, tmp_path, late)
    assert kept(tmp_path) == ["trial-0"]
    assert description(tmp_path)["attempt"] == 2


def test_a_late_worker_never_overwrites_its_successor(tmp_path: Path, run: Finetune) -> None:
    opened = study(f"sqlite:///{tmp_path}/study.db")
    late, heir = two_attempts(opened)
    keep_model(opened, tmp_path, heir, run, ending(0.9), CLASSES)
    keep_model(opened, tmp_path, late, run, ending(0.9), CLASSES)
    assert kept(tmp_path) == ["trial-0"]
    assert description(tmp_path)["attempt"] == 2
    delete_model(opened, tmp_path, heir)
    assert kept(tmp_path) == []


def test_a_model_of_an_attempt_that_does_not_count_is_no_model_of_the_result(
    tmp_path: Path, run: Finetune
) -> None:
    """The successor's disk was full: the result is its own, the folder is not."""
    opened = study(f"sqlite:///{tmp_path}/study.db")
    late, heir = two_attempts(opened)
    keep_model(opened, tmp_path, late, run, ending(0.9), CLASSES)
    trial, _ = ask(opened, heir)
    prune_models(opened, tmp_path)
    assert kept(tmp_path) == ["trial-0"]  # the trial runs: it is not for others to judge
    tell(opened, trial, heir, ending(0.9), 1.0, {})
    prune_models(opened, tmp_path)
    assert kept(tmp_path) == []


def test_taking_away_gives_back_what_turns_out_to_be_a_later_attempts(tmp_path: Path, run: Finetune) -> None:
    opened = study(f"sqlite:///{tmp_path}/study.db")
    _, heir = two_attempts(opened)
    keep_model(opened, tmp_path, heir, run, ending(0.9), CLASSES)
    models_module._remove_model(tmp_path / MODELS / FILES / "trial-0", attempt=1)
    assert kept(tmp_path) == ["trial-0"]
    assert description(tmp_path)["attempt"] == 2


# ── cleaning up ──


def dummy(artifacts: Path, name: str, attempt: int = 1) -> Path:
    folder = artifacts / MODELS / FILES / name
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"x" * 100)
    (folder / DESCRIPTION).write_text(json.dumps({"attempt": attempt}))
    return folder


def test_a_running_trials_folder_and_unfinished_work_are_left_to_it(tmp_path: Path, run: Finetune) -> None:
    opened = study(f"sqlite:///{tmp_path}/study.db")
    end(opened, tmp_path, run, ending(0.9))
    claim(opened.storage, opened.study_id, "w")
    mine = [dummy(tmp_path, "trial-1"), dummy(tmp_path, ".trial-1.attempt-1.12ab.part")]
    stale = [
        dummy(tmp_path, ".trial-0.attempt-1.12ab.part"),  # finished
        dummy(tmp_path, ".trial-1.attempt-0.12ab.part"),  # an earlier attempt's
        dummy(tmp_path, ".trial-2.attempt-1.12ab.part"),  # waiting: nobody is at work
    ]
    foreign = [dummy(tmp_path, "trial-77"), dummy(tmp_path, "notes")]
    prune_models(opened, tmp_path)
    assert all(path.is_dir() for path in [*mine, *foreign])
    assert not any(path.exists() for path in stale)


def test_a_model_that_cannot_be_read_is_removed_with_its_finished_trial(
    tmp_path: Path, run: Finetune
) -> None:
    opened = study(f"sqlite:///{tmp_path}/study.db")
    end(opened, tmp_path, run, ending(0.9))
    (tmp_path / MODELS / FILES / "trial-0" / DESCRIPTION).write_text("{")
    prune_models(opened, tmp_path)
    assert kept(tmp_path) == []


def test_many_workers_clean_up_at_once(storage_url: str, tmp_path: Path, run: Finetune) -> None:
    opened = study(storage_url, keep=2, trials=12)
    for number in range(12):
        end(opened, tmp_path, run, ending(0.5 + number / 100))
    for number in range(10):
        dummy(tmp_path, f"trial-{number}")
        dummy(tmp_path, f".trial-{number}.attempt-1.12ab.part")
    failed: list[BaseException] = []

    def clean(worker: OpenStudy) -> None:
        try:
            start.wait()
            prune_models(worker, tmp_path)
        except BaseException as error:
            failed.append(error)
        finally:
            worker.storage.remove_session()

    workers = [real(join(storage_url)) for _ in range(6)]
    start = threading.Barrier(len(workers))
    threads = [threading.Thread(target=clean, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert kept(tmp_path) == ["trial-10", "trial-11"]
