"""A model's folder classifies as the fine-tune in memory did, to the last bit, whatever the order of the texts."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

import gloss_tune
from gloss_tune.data import TokenizedSplit
from gloss_tune.encoder import Encoder
from gloss_tune.errors import InputError
from gloss_tune.finetune import classifier as classifier_module
from gloss_tune.finetune.classifier import Classifier, load_classifier
from gloss_tune.finetune.config import FinetuneConfig
from gloss_tune.finetune.evaluation import score
from gloss_tune.finetune.loop import Finetune
from gloss_tune.finetune.model_folder import DESCRIPTION, HEAD, write_model
from tests.unit.finetune.tiny import SPECIAL, WORDS, documents

CLASSES = ("ähnlich", "b", "c")
CONFIG = FinetuneConfig(
    epochs=3, batch_size=32, max_length=12, precision="float32", learning_rate=3e-3, patience=3
)
TEST = documents(400, len(CLASSES), seed=3)


def texts_of(split: TokenizedSplit) -> list[str]:
    rows = [
        split.ids[start + 1 : end - 1] for start, end in zip(split.offsets, split.offsets[1:], strict=False)
    ]
    return [" ".join(WORDS[token - len(SPECIAL)] for token in row) for row in rows]


TEXTS = texts_of(TEST)


@pytest.fixture(scope="module")
def run(encoder: Encoder) -> Finetune:
    made = Finetune(
        CONFIG,
        documents(96, len(CLASSES), seed=1),
        documents(60, len(CLASSES), seed=2),
        len(CLASSES),
        encoder,
    )
    assert len(list(made.epochs())) > 1
    return made


@pytest.fixture(scope="module")
def model(run: Finetune, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    run.restore_best()
    said = {"classes": list(CLASSES), "max_length": CONFIG.max_length, "precision": "float32"}
    write_model(folder, run.encoder, run.head, {**said, "device": "cpu"})
    return folder


@pytest.fixture(scope="module")
def loaded(model: Path) -> Classifier:
    return load_classifier(model, device="cpu")


def altered(model: Path, tmp_path: Path, **changes: Any) -> Path:
    """A copy with another description; None takes a key away."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in model.rglob("*"):
        if file.is_file():
            target = copy / file.relative_to(model)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(file.read_bytes())
    said = {**json.loads((model / DESCRIPTION).read_text()), **changes}
    said = {key: value for key, value in said.items() if value is not None}
    (copy / DESCRIPTION).write_text(json.dumps(said))
    return copy


def test_the_folder_gives_what_memory_gives_to_the_last_bit(run: Finetune, loaded: Classifier) -> None:
    run.restore_best()
    in_memory = Classifier(
        run.encoder, run.head, CLASSES, max_length=CONFIG.max_length, precision=CONFIG.precision
    )
    ours, theirs = in_memory.outputs(TEXTS), loaded.outputs(TEXTS)
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])
    assert score(*ours, TEST.labels) == score(*theirs, TEST.labels)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_order_of_the_texts_changes_no_bit(
    precision: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This encoder is too small to show it in its results, so what goes through it together is looked at too."""
    seen: list[Any] = []
    embed = classifier_module.embed_split
    monkeypatch.setattr(
        classifier_module,
        "embed_split",
        lambda encoder, tokens, *rest: (seen.append(tokens.ids), embed(encoder, tokens, *rest))[1],
    )
    classifier = load_classifier(altered(model, tmp_path, precision=precision), device="cpu")
    whole = classifier.predict_proba(TEXTS)
    order = list(range(len(TEXTS)))
    random.Random(0).shuffle(order)
    assert np.array_equal(classifier.predict_proba([TEXTS[i] for i in order]), whole[order])
    assert np.array_equal(*seen)


def test_sentence_transformers_and_numpy_agree(model: Path, loaded: Classifier) -> None:
    embeddings = SentenceTransformer(str(model), device="cpu").encode(TEXTS)
    head = {name: value.numpy() for name, value in load_file(model / HEAD).items()}
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    logits = unit @ head["weight"].T + head["bias"]
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = loaded.predict_proba(TEXTS)
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    labels = loaded.predict(TEXTS)
    assert labels == [CLASSES[i] for i in probabilities.argmax(axis=1)]
    assert np.mean([CLASSES.index(label) for label in labels] == TEST.labels) > 1.5 / len(CLASSES)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)


def test_white_space_and_line_ends_are_those_of_the_training_data(loaded: Classifier) -> None:
    text = "a1 b2 c3"
    same = [f"  {text}\r\n", f"\t{text}", text]
    for one in same:
        assert np.array_equal(loaded.predict_proba([one]), loaded.predict_proba([text]))


def test_long_texts_are_cut_as_in_training(loaded: Classifier) -> None:
    text = " ".join(["a1"] * (CONFIG.max_length - 2))
    longer = f"{text} f5 f5 f5"
    assert np.array_equal(loaded.predict_proba([text]), loaded.predict_proba([longer]))


def test_no_text_is_no_fault(loaded: Classifier) -> None:
    assert loaded.predict([]) == []
    assert loaded.predict_proba([]).shape == (0, len(CLASSES))


@pytest.mark.parametrize(
    ("texts", "said"),
    [("a1 b2", "put it in a list"), (["a1", " \n"], "number 1"), (["a1", None], "number 1 is None")],
)
def test_what_is_no_text_is_refused(loaded: Classifier, texts: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        loaded.predict(texts)


# ── folders that are no models ──


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "must be of format 1, it is of 2"),
        ({"classes": ["a"]}, "two classes or more"),
        ({"classes": None}, "damaged"),
        ({"max_length": "x"}, "max_length 'x'"),
        ({"precision": "float16"}, "precision 'float16'"),
        ({"classes": ["a", "b"]}, r"weight \(2, 32\)"),
    ],
)
def test_a_description_that_does_not_fit_is_named(
    model: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        load_classifier(altered(model, tmp_path, **changes), device="cpu")


def test_what_is_missing_or_broken_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'gloss-tune retrain' wrote"):
        load_classifier(tmp_path)
    copy = altered(model, tmp_path)
    (copy / HEAD).unlink()
    with pytest.raises(InputError, match=HEAD):
        load_classifier(copy, device="cpu")
    save_file({"weight": torch.zeros(3, 32)}, copy / HEAD)
    with pytest.raises(InputError, match="it holds"):
        load_classifier(copy, device="cpu")
    (copy / DESCRIPTION).write_text("{")
    with pytest.raises(InputError, match="must be JSON"):
        load_classifier(copy, device="cpu")
    with pytest.raises(InputError, match="cannot be used"):
        load_classifier(model, device="cuda:99")


def test_a_model_that_a_study_kept_takes_its_precision_from_the_parameters(
    model: Path, tmp_path: Path, loaded: Classifier
) -> None:
    kept = altered(model, tmp_path, precision=None, device=None, params={"precision": "float32"})
    assert np.array_equal(load_classifier(kept).predict_proba(TEXTS), loaded.predict_proba(TEXTS))


def test_bfloat16_of_another_device_is_not_emulated(
    model: Path, tmp_path: Path, loaded: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = {"float32": 100.0, "bfloat16": 60.0}
    monkeypatch.setattr("gloss_tune.finetune.precision.product_speeds", lambda encoder: speeds)
    elsewhere = altered(model, tmp_path, precision="bfloat16", device="cuda:0")
    whole = loaded.predict_proba(TEXTS[:50])
    assert np.array_equal(load_classifier(elsewhere, "cpu").predict_proba(TEXTS[:50]), whole)
    speeds["bfloat16"] = 250.0
    assert not np.array_equal(load_classifier(elsewhere, "cpu").predict_proba(TEXTS[:50]), whole)


# ── the package's own name for it ──


def test_the_package_names_it_and_stays_light() -> None:
    assert gloss_tune.load_classifier is load_classifier
    with pytest.raises(AttributeError, match="load_clasifier"):
        _ = gloss_tune.load_clasifier
    script = "import sys, gloss_tune; assert not {'torch', 'numpy', 'optuna'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
