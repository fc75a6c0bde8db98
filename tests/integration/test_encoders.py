"""Encoders from creation on: tried before anything is written, remembered, and the same in every worker and model."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer

from gloss_tune.encoder import resolve_encoder
from gloss_tune.encoder.fingerprint import fingerprint_v1
from gloss_tune.errors import EncoderError, StudyMismatchError
from gloss_tune.finetune.classifier import load_classifier
from gloss_tune.retrain.retrain import RetrainOptions, retrain
from gloss_tune.signals import StopFlag
from gloss_tune.spec.build import build_spec
from gloss_tune.study.create import create
from gloss_tune.study.study import open_study
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.worker import work
from tests.conftest import CommandLine
from tests.unit.encoder.families import WORDS, write_family
from tests.unit.encoder.test_check import parts, saved


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """Two classes that share no word."""
    rng = random.Random(0)
    folder = tmp_path / "words"
    folder.mkdir()
    for split, count in (("train", 24), ("val", 8), ("test", 8)):
        own = {"low": WORDS[:20], "high": WORDS[-20:]}
        lines = [
            f"{' '.join(rng.choices(own[label], k=rng.randint(3, 9)))},{label}"
            for _ in range(count // 2)
            for label in own
        ]
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *dict.fromkeys(lines)]) + "\n")
    return folder


def spec_of(words: Path, encoder: Path, **fields: Any) -> Any:
    train = {"max_length": 16, "epochs": 1, "batch_size": 8}
    return build_spec({"dataset": str(words), "model": str(encoder), "trials": 1, "train": train, **fields})


def test_an_encoder_that_cannot_serve_is_refused_with_nothing_written(
    words: Path, tmp_path: Path, gloss_tune_cli: CommandLine
) -> None:
    encoder = saved(tmp_path / "bow", parts().BoW(WORDS, {}))
    url = f"sqlite:///{tmp_path}/study.db"
    with pytest.raises(EncoderError, match="nothing to train"):
        create(spec_of(words, encoder), url, "bow")
    assert not (tmp_path / "study.db").exists() or not open_names(url)
    ran = gloss_tune_cli(
        "create",
        "--dataset",
        words,
        "--model",
        encoder,
        "--storage",
        f"sqlite:///{tmp_path}/cli.db",
        exit_code=2,
    )
    assert "nothing to train" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "cli.db").exists()


def test_a_dry_run_tries_the_encoder_as_create_does(
    words: Path, tmp_path: Path, gloss_tune_cli: CommandLine
) -> None:
    how = ["create", "--dataset", words, "--dry-run", "--max-length", 16, "--format", "json", "--model"]
    before = set(tmp_path.rglob("*"))
    ran = gloss_tune_cli(*how, bert := write_family(tmp_path / "bert", "bert"))
    assert "Encoder" in ran.stderr
    assert "without padding" in ran.stderr
    assert f'"model": "{bert}"' in ran.stdout
    bow = saved(tmp_path / "bow", parts().BoW(WORDS, {}))
    for encoder, said in ((bow, "nothing to train"), (tmp_path / "gone", "must be an existing folder")):
        ran = gloss_tune_cli(*how, encoder, exit_code=2)
        assert said in ran.stderr
        assert "Traceback" not in ran.stderr
    assert (
        "is not on this machine, and is tried when" in gloss_tune_cli(*how, "some-owner/some-encoder").stderr
    )
    written = {path for path in set(tmp_path.rglob("*")) - before if not {"bert", "bow"} & set(path.parts)}
    assert not written


def open_names(url: str) -> list[str]:
    from gloss_tune.storage.connect import open_storage

    return [study.study_name for study in open_storage(url).get_all_studies()]


def test_a_prompt_holds_from_creation_to_the_model(words: Path, tmp_path: Path) -> None:
    encoder = write_family(tmp_path / "encoder", "bert")
    url = f"sqlite:///{tmp_path}/study.db"
    opened = create(spec_of(words, encoder, prompt="a1 a2 "), url, "prompted").study
    assert open_study(url, "prompted").spec.prompt == "a1 a2 "
    with pytest.raises(StudyMismatchError, match="prompt"):
        create(spec_of(words, encoder), url, "prompted")
    work(opened, WorkerOptions(device="cpu", artifacts=tmp_path / "artifacts"), StopFlag())
    retrain(open_study(url, "prompted"), RetrainOptions(tmp_path / "model", device="cpu"), StopFlag())
    classifier = load_classifier(tmp_path / "model", "cpu")
    theirs = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    texts = ["a3 a4", "h3 h4 h5"]
    embeddings, _ = classifier.outputs(texts)
    expected = theirs.encode(texts, prompt="a1 a2 ", convert_to_tensor=True)
    assert float((theirs.encode(texts, convert_to_tensor=True) - expected).norm()) == 0.0
    # the classifier may compute in bfloat16
    assert float((embeddings.cpu() - expected).norm() / expected.norm()) < 0.02


def test_a_study_of_the_first_release_keeps_its_fingerprint(words: Path, tmp_path: Path) -> None:
    encoder = write_family(tmp_path / "encoder", "bert")
    url = f"sqlite:///{tmp_path}/study.db"
    opened = create(spec_of(words, encoder), url, "old").study
    assert opened.encoder["fingerprint"] == resolve_encoder(str(encoder)).fingerprint
    attributes = opened.storage.get_study_user_attrs(opened.study_id)
    (key,) = [
        key
        for key, value in attributes.items()
        if isinstance(value, dict) and "fingerprint" in value and value["name"] == str(encoder)
    ]
    opened.storage.set_study_user_attr(
        opened.study_id, key, {"name": str(encoder), "fingerprint": fingerprint_v1(encoder)}
    )
    assert not create(spec_of(words, encoder), url, "old").is_new
    work(open_study(url, "old"), WorkerOptions(device="cpu", artifacts=tmp_path / "artifacts"), StopFlag())
    weights = bytearray((encoder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (encoder / "model.safetensors").write_bytes(weights)
    with pytest.raises(StudyMismatchError, match=r"encoder\.fingerprint"):
        create(spec_of(words, encoder), url, "old")
