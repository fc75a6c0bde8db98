"""``train.folds``: a trial's value is the mean over stratified folds of train and val."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState
from sklearn.model_selection import StratifiedKFold

from gloss_tune.confirm.confirmation import confirm
from gloss_tune.data import load_dataset
from gloss_tune.data.dataset import Split, build_dataset, canonical
from gloss_tune.doctor.smoke import measure, middle_config
from gloss_tune.encoder import resolve_encoder
from gloss_tune.errors import DataError, SpecError
from gloss_tune.finetune.config import TIMING_METRICS, FinetuneConfig
from gloss_tune.finetune.session import Session
from gloss_tune.pipeline.plan import Sizes
from gloss_tune.pipeline.speed import measure_speed, whole_dataset
from gloss_tune.retrain.retrain import RetrainOptions, retrain
from gloss_tune.seeding import derive_seed
from gloss_tune.signals import StopFlag
from gloss_tune.spec.build import build_spec
from gloss_tune.spec.spec import StudySpec
from gloss_tune.study.create import create
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.lease import WorkersHere
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.runs import RealRuns
from gloss_tune.workers.worker import work
from tests.unit.finetune.tiny import WORDS, write_encoder

pytestmark = [pytest.mark.timeout(120), pytest.mark.prepared]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "words"
    folder.mkdir()
    for name, count in (("train", 32), ("val", 8)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for number in range(count):
                words = [WORDS[(number % 3) * 5 + number % 5], WORDS[12 + number % 7], f"{name}{number}"]
                writer.writerow([" ".join(words), "ab"[number % 2]])
    return folder


def spec_of(data: Path, encoder: Path, folds: int = 4, **layer: Any) -> StudySpec:
    train = {"epochs": 2, "batch_size": 8, "max_length": 12, "folds": folds, "precision": "float32"}
    base = {"dataset": str(data), "model": str(encoder), "trials": 1, "pruner": "none", "sampler": "random"}
    return build_spec({**base, "train": train}, layer)


@pytest.fixture
def closing() -> Iterator[list[OpenStudy]]:
    opened: list[OpenStudy] = []
    yield opened
    for one in opened:
        one.storage.remove_session()
        one.storage.engine.dispose()


def by_hand(data: Path, encoder: Path, config: FinetuneConfig, folds: int) -> float:
    """The mean over scikit-learn's folds, each as a data set of its own."""
    read = load_dataset(str(data))
    documents = sorted(
        ((text, read.classes[label]) for split in (read.train, read.val)
         for text, label in zip(split.texts, split.labels, strict=True)),
    )  # fmt: skip
    pool = canonical(documents)
    labels = [label for _, label in pool]
    splitter = StratifiedKFold(folds, shuffle=True, random_state=derive_seed(config.seed, "folds") % 2**32)
    values = []
    for train, val in splitter.split(labels, labels):
        parts = {"train": [pool[place] for place in train], "val": [pool[place] for place in val]}
        one = build_dataset("fold", "fold", parts)
        run = Session(one, resolve_encoder(str(encoder)), "cpu", 12).run(config)
        for _ in run.epochs():
            pass
        assert run.best is not None
        values.append(run.best.metrics[config.metric])
    return fmean(values)


def test_a_trials_value_is_the_mean_over_the_folds_and_retrain_takes_train_and_val_as_they_are(
    data: Path,
    encoder: Path,
    tmp_path: Path,
    closing: list[OpenStudy],
    caplog: pytest.LogCaptureFixture,
) -> None:
    spec = spec_of(data, encoder)
    with caplog.at_level(logging.INFO, "gloss_tune"):
        opened = create(spec, f"sqlite:///{tmp_path / 's.db'}").study
    closing.append(opened)
    assert "train and val together, 40 documents, in 4 stratified folds of 10" in caplog.text
    work(opened, WorkerOptions(device="cpu", threads=1, artifacts=tmp_path / "artifacts"), StopFlag())
    (trial,) = opened.storage.get_all_trials(opened.study_id)
    assert sorted(trial.intermediate_values) == [1, 2, 3, 4]
    config = spec.config(trial.params)
    assert trial.value == pytest.approx(by_hand(data, encoder, config, 4), abs=1e-12)
    queued = confirm(opened, 1, 2).study
    closing.append(queued)
    assert (queued.spec.folds, queued.spec.step_name) == (4, "fold")
    told = retrain(opened, RetrainOptions(tmp_path / "model", device="cpu", threads=1), StopFlag())
    assert (told["dataset"]["n_train"], told["dataset"]["n_val"]) == (32, 8)


class _KilledError(Exception):
    pass


def test_a_worker_killed_in_a_fold_is_followed_by_one_that_comes_out_the_same(
    data: Path, encoder: Path, tmp_path: Path, closing: list[OpenStudy]
) -> None:
    spec = spec_of(data, encoder)
    opened = create(spec, f"sqlite:///{tmp_path / 's.db'}").study
    closing.append(opened)
    config = middle_config(spec)
    steps, most = 0, 10**9

    def on_step() -> None:
        nonlocal steps
        steps += 1
        if steps > most:
            raise _KilledError

    def start() -> Any:
        runs = RealRuns(opened, WorkerOptions(device="cpu", threads=1))
        return runs.run(config, on_step, lambda: WorkersHere(1, 0))

    whole = list(start().epochs())
    of_a_fold, steps = steps // 4, 0
    most = 2 * of_a_fold + 3  # within the third fold
    broken = start()
    with pytest.raises(_KilledError):
        list(broken.epochs())
    state, most = broken.state_dict(), 10**9
    assert len(state["done"]) == 2
    resumed = start()
    resumed.load_state_dict(state)
    steps = 0
    rest = list(resumed.epochs())
    assert steps == 2 * of_a_fold

    def plain(report: Any) -> dict[str, float]:
        return {name: value for name, value in report.metrics.items() if name not in TIMING_METRICS}

    assert [plain(report) for report in rest] == [plain(report) for report in whole[2:]]


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_trials_are_pruned_between_folds(pruner: str, tmp_path: Path, closing: list[OpenStudy]) -> None:
    layer = {"train": {"folds": 5, "epochs": 2}, "trials": 20, "pruner": pruner, "sampler": "random"}
    spec = build_spec({"dataset": "mr", "rehearse": True}, layer)
    assert (spec.most_steps, spec.step_name) == (5, "fold")
    opened = create(spec, f"sqlite:///{tmp_path / 's.db'}").study
    closing.append(opened)
    work(opened, WorkerOptions(artifacts=tmp_path / "artifacts"), StopFlag())
    trials = opened.storage.get_all_trials(opened.study_id)
    for trial in trials:
        steps = sorted(trial.intermediate_values)
        assert (steps == [1, 2, 3, 4, 5]) == (trial.state == TrialState.COMPLETE)
        assert len(set(trial.intermediate_values.values())) == len(steps)
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.PRUNED}


def test_estimates_count_a_training_for_each_fold(data: Path, encoder: Path) -> None:
    spec = spec_of(data, encoder)
    speed, sizes = measure_speed(spec, whole_dataset(spec, None), "cpu", 1)
    assert (speed.trainings, sizes) == (4, Sizes(30, 10, 0, 2))
    measured = measure(spec, load_dataset(str(data)), resolve_encoder(str(encoder)), "cpu")
    steps = 4  # thirty documents by eight
    epoch = steps * measured.step_seconds + 10 * measured.document_seconds
    assert measured.trial_seconds == pytest.approx(4 * 2 * epoch)


def test_what_folds_cannot_be_is_refused_before_anything_is_written(
    data: Path, encoder: Path, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=r"train\.folds: must be a whole number of at least 1"):
        spec_of(data, encoder, 0)
    with pytest.raises(SpecError, match=r"train\.folds: a trial has several folds or several seeds"):
        spec_of(data, encoder, 4, train={"seeds": 2})
    with pytest.raises(SpecError, match=r"max_val_docs: train\.folds = 4 decides"):
        spec_of(data, encoder, 4, max_val_docs=10)
    with pytest.raises(SpecError, match=r"space\.folds: cannot be searched"):
        spec_of(data, encoder, 1, space={"folds": {"low": 1, "high": 3}})
    database = tmp_path / "s.db"
    with pytest.raises(DataError, match=r"'a', 'b' \(.*set train\.folds to 20 at most"):
        create(spec_of(data, encoder, 21), f"sqlite:///{database}")
    few = spec_of(data, encoder, 5, max_train_docs=8)
    with pytest.raises(
        DataError, match=r"of the 8 documents of train and val .*set train\.folds to 4 at most"
    ):
        create(few, f"sqlite:///{database}")
    assert not database.exists()


def test_a_split_takes_the_tokens_of_its_documents(data: Path, encoder: Path) -> None:
    session = Session(load_dataset(str(data)), resolve_encoder(str(encoder)), "cpu", 12)
    fold = session.fold(FinetuneConfig(seed=3), 1, 4)
    train, val = session.parts(12, fold)
    pool: Split = session.pool
    assert (len(train), len(val)) == (30, 10)
    assert np.array_equal(val.labels, pool.labels[fold.val])
    assert np.array_equal(train.lengths, session.tokens("pool", 12).lengths[fold.train])
