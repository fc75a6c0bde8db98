"""The lock: whatever loading reads changes the fingerprint, and nothing else does; studies of 0.1.0 keep theirs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gloss_tune.encoder import resolve_encoder
from gloss_tune.encoder.fingerprint import fingerprint, fingerprint_like, fingerprint_v1
from gloss_tune.errors import EncoderError
from gloss_tune.study.encoder import describe_encoder, encoder_like
from tests.unit.encoder.families import write_family
from tests.unit.encoder.test_check import change, parts, saved, transformer


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformer with safetensors at the root, a Dense with another kind of weights, and a prompt."""
    root = tmp_path_factory.mktemp("original")
    bert = write_family(root / "bert", "bert")
    folder = saved(
        root / "model",
        transformer(bert),
        parts().Pooling(32, "mean"),
        parts().Dense(32, 8),
        prompts={"query": "q: "},
    )
    weights = load_file(folder / "2_Dense" / "model.safetensors")
    (folder / "2_Dense" / "model.safetensors").unlink()
    torch.save(weights, folder / "2_Dense" / "pytorch_model.bin")
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def exchange_words(folder: Path) -> None:
    file = folder / "tokenizer.json"
    text = file.read_text()
    assert '"a1"' in text
    file.write_text(text.replace('"a1"', '"?"').replace('"b1"', '"a1"').replace('"?"', '"b1"'))


CHANGES: dict[str, Any] = {
    "weights": lambda folder: flip(folder / "model.safetensors"),
    "weights of a later module, of another kind": lambda folder: flip(
        folder / "2_Dense" / "pytorch_model.bin"
    ),
    "tokenizer": exchange_words,
    "side of truncation": lambda folder: change(folder / "tokenizer_config.json", truncation_side="left"),
    "modules.json": lambda folder: (folder / "modules.json").write_text(
        json.dumps(json.loads((folder / "modules.json").read_text())[:2])
    ),
    "prompt": lambda folder: change(
        folder / "config_sentence_transformers.json", prompts={"query": "other: "}
    ),
    "default prompt": lambda folder: change(
        folder / "config_sentence_transformers.json", default_prompt_name="query"
    ),
    "do_lower_case": lambda folder: change(folder / "sentence_bert_config.json", do_lower_case=True),
    "pooling": lambda folder: change(folder / "1_Pooling" / "config.json", pooling_mode="max"),
    "precision of the weights": lambda folder: change(folder / "config.json", dtype="float16"),
    "chat template": lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}"),
    "added tokens": lambda folder: change(folder / "added_tokens.json", new=70),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_loading_reads_counts(folder: Path, what: str) -> None:
    before = fingerprint(folder)
    CHANGES[what](folder)
    assert fingerprint(folder) != before


def add_checkpoint(folder: Path) -> None:
    shutil.copytree(folder / "1_Pooling", folder / "checkpoint-200" / "1_Pooling")
    shutil.copy(folder / "config.json", folder / "checkpoint-200")
    shutil.copy(folder / "model.safetensors", folder / "checkpoint-200")


WITHOUT_EFFECT: dict[str, Any] = {
    "a checkpoint": add_checkpoint,
    "README": lambda folder: (folder / "README.md").write_text("# new"),
    "a note": lambda folder: (folder / "notes.txt").write_text("new"),
    "results": lambda folder: change(folder / "eval_results.json", accuracy=0.9),
    "the weights once more, of a kind that is not loaded": lambda folder: torch.save(
        {}, folder / "pytorch_model.bin"
    ),
    "an export": lambda folder: ((folder / "onnx").mkdir(), (folder / "onnx" / "model.onnx").touch()),
    "who wrote it": lambda folder: change(folder / "config.json", transformers_version="0"),
    "a script that nothing names": lambda folder: (folder / "train.py").write_text("print()"),
    "a model's own head": lambda folder: save_file({"a": torch.ones(1)}, folder / "head.safetensors"),
    "indentation": lambda folder: (folder / "config.json").write_text(
        json.dumps(json.loads((folder / "config.json").read_text()), indent=1)
    ),
}


@pytest.mark.parametrize("what", WITHOUT_EFFECT)
def test_what_loading_does_not_read_does_not_count(folder: Path, what: str) -> None:
    before = fingerprint(folder)
    WITHOUT_EFFECT[what](folder)
    assert fingerprint(folder) == before


def test_a_study_of_the_first_release_is_compared_as_it_was_made(folder: Path) -> None:
    resolved = resolve_encoder(str(folder))
    made = {"name": str(folder), "fingerprint": fingerprint_v1(folder)}
    assert encoder_like(made, resolved) == made
    assert encoder_like(describe_encoder(resolved), resolved) == describe_encoder(resolved)
    flip(folder / "model.safetensors")
    assert encoder_like(made, resolve_encoder(str(folder))) != made


def test_the_first_scheme_is_what_it_was() -> None:
    """Of the packaged encoder, as 0.1.0 computed it."""
    packaged = resolve_encoder("all-MiniLM-L6-v2")
    known = "a" * 64
    assert fingerprint_like(known, packaged.path, packaged.fingerprint) == V1_OF_MINILM


V1_OF_MINILM = "7d10e06f74801f32daca1e7f40baea393e7b7e2ee9b967c7e8c13034973b75b5"


def test_half_downloaded_modules_are_noticed(folder: Path) -> None:
    (folder / "2_Dense" / "pytorch_model.bin").unlink()
    with pytest.raises(EncoderError, match="2_Dense without weights"):
        resolve_encoder(str(folder))


def test_shards_count(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    (folder / "model.safetensors").unlink()
    for number, part in enumerate((names[::2], names[1::2])):
        save_file({name: weights[name] for name in part}, folder / f"model-{number}.safetensors")
    places = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    before = fingerprint(folder)
    flip(folder / "model-1.safetensors")
    assert fingerprint(folder) != before
