"""Encoders' folders in all the forms that people have them: modules of every kind, weights whole, in parts, or none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from gloss_tune.encoder import Encoder, resolve_encoder
from gloss_tune.errors import EncoderError
from tests.unit.encoder.families import WORDS, write_family
from tests.unit.encoder.test_check import change, check, parts, saved, transformer, whole_way


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(tmp_path_factory.mktemp("bert"), "bert")


# ── modules ──


@pytest.mark.parametrize("kind", ["lasttoken", "weightedmean", "mean_sqrt_len_tokens", "max"])
@pytest.mark.parametrize("name", ["bert", "qwen3"])
def test_every_way_of_pooling(tmp_path: Path, name: str, kind: str) -> None:
    folder = write_family(tmp_path / name, name)
    whole_way(saved(tmp_path / "encoder", transformer(folder), parts().Pooling(32, kind)), tmp_path)


def test_padding_on_the_left(tmp_path: Path) -> None:
    folder = write_family(tmp_path / "qwen3", "qwen3")
    change(folder / "tokenizer_config.json", padding_side="left")
    whole_way(saved(tmp_path / "encoder", transformer(folder), parts().Pooling(32, "lasttoken")), tmp_path)


def test_modules_behind_the_pooling(tmp_path: Path, bert: Path) -> None:
    modules = [transformer(bert), parts().Pooling(32, "mean"), parts().Dense(32, 16), parts().LayerNorm(16),
               parts().Dense(16, 6), parts().Normalize()]  # fmt: skip
    encoder, _ = whole_way(saved(tmp_path / "encoder", *modules), tmp_path)
    assert encoder.dimension == 6
    assert encoder.packs


def test_a_mean_of_layers_is_trained_as_one(tmp_path: Path, bert: Path) -> None:
    change(Path(shutil.copytree(bert, tmp_path / "all")) / "config.json", output_hidden_states=True)
    weighted = parts().WeightedLayerPooling(32, num_hidden_layers=2, layer_start=1)
    folder = saved(tmp_path / "encoder", transformer(tmp_path / "all"), weighted, parts().Pooling(32, "mean"))
    encoder, _ = whole_way(folder, tmp_path)
    assert not torch.equal(encoder.weights()["1.layer_weights"], torch.ones(2)), "it learns"


def test_a_router_takes_its_route_for_documents(tmp_path: Path, bert: Path) -> None:
    routes = {name: [transformer(bert), parts().Pooling(32, "mean")] for name in ("query", "document")}
    routed = parts().Router(routes, default_route="document")
    whole_way(saved(tmp_path / "encoder", routed), tmp_path)


# ── chat templates ──

TEMPLATE = (
    "{% for message in messages %}{{ 'a1 ' + message['role'] + ' ' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}{{ ' b2' }}{% endfor %}"
)


@pytest.mark.parametrize("prompt", [None, "c3 c4 "])
def test_a_chat_template_goes_around_each_text_as_in_encode(tmp_path: Path, prompt: str | None) -> None:
    plain = write_family(tmp_path / "plain", "qwen3")
    chat = Path(shutil.copytree(plain, tmp_path / "chat"))
    change(chat / "tokenizer_config.json", chat_template=TEMPLATE)
    encoder = Encoder.load(resolve_encoder(str(chat), prompt=prompt), max_length=32)
    (row,) = encoder.preprocessor(["d5 d6"], 32)
    tokens = encoder.tokenizer.convert_ids_to_tokens(row.tolist())
    said = [token for token in tokens if token in WORDS]
    assert said[0] == "a1"
    assert said[-3:] == ["d5", "d6", "b2"]
    assert ("c4" in said) == (prompt is not None)
    theirs = encoder.model.preprocess(["d5 d6"], prompt=prompt)["input_ids"][0].tolist()
    assert row.tolist() == theirs
    whole_way(chat, tmp_path, prompt=prompt)
    without = check(plain)
    assert without.unknown == 0.0


# ── weights ──


def test_weights_in_parts_and_of_the_older_kind(tmp_path: Path, bert: Path) -> None:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(bert)
    parted = Path(shutil.copytree(bert, tmp_path / "parts"))
    (parted / "model.safetensors").unlink()
    model.save_pretrained(parted, max_shard_size="20KB")
    assert (parted / "model.safetensors.index.json").exists()
    older = Path(shutil.copytree(bert, tmp_path / "older"))
    (older / "model.safetensors").unlink()
    torch.save(model.state_dict(), older / "pytorch_model.bin")
    for folder in (parted, older):
        whole_way(folder, folder)
    shard = max(parted.glob("model-*.safetensors"))
    shard.unlink()
    with pytest.raises(EncoderError, match=shard.name):
        resolve_encoder(str(parted))


@pytest.mark.parametrize("weights", ["tf_model.h5", "flax_model.msgpack", "onnx/model.onnx", "model.gguf"])
def test_weights_of_other_libraries_alone_are_none(tmp_path: Path, bert: Path, weights: str) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "other"))
    (folder / weights).parent.mkdir(exist_ok=True)
    (folder / "model.safetensors").rename(folder / weights)
    with pytest.raises(EncoderError, match=r"without weights \(\*\.safetensors or pytorch_model\.bin\)"):
        resolve_encoder(str(folder))


@pytest.mark.parametrize("prefix", ["module.", "encoder.model.", ""])
def test_weights_that_do_not_fit_are_not_made_up(tmp_path: Path, bert: Path, prefix: str) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(bert, tmp_path / "unfit"))
    weights = load_file(folder / "model.safetensors")
    if not prefix:  # one layer is missing
        weights = {name: value for name, value in weights.items() if "layer.1." not in name}
    save_file({prefix + name: value for name, value in weights.items()}, folder / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    with pytest.raises(EncoderError, match="must hold all of its weights"):
        check(folder)


def test_a_head_that_is_not_used_may_be_missing(tmp_path: Path, bert: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(bert, tmp_path / "headless"))
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "pooler" not in name}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    assert check(folder).way == "without padding"


# ── what is no sentence encoder ──


@pytest.mark.parametrize(
    ("file", "entries", "said"),
    [
        ("config_sentence_transformers.json", {"model_type": "CrossEncoder"}, "scores pairs of texts"),
        ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "each word of its vocabulary"),
        ("config.json", {"sentence_transformers": {"version": "5.0.0"}}, "a CrossEncoder"),
        ("config.json", {"quantization_config": {"quant_method": "gptq", "bits": 4}}, r"quantised \(gptq\)"),
        ("adapter_config.json", {"base_model_name_or_path": "some/base"}, "adapters over 'some/base'"),
    ],
)
def test_other_kinds_are_refused_by_name(
    tmp_path: Path, bert: Path, file: str, entries: dict[str, Any], said: str
) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "other"))
    change(folder / file, **entries)
    with pytest.raises(EncoderError, match=said):
        resolve_encoder(str(folder))


def test_adapters_alone_and_splade_modules(tmp_path: Path, bert: Path) -> None:
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_model.safetensors").write_bytes(b"")
    change(tmp_path / "lora" / "adapter_config.json", base_model_name_or_path="bert", peft_type="LORA")
    with pytest.raises(EncoderError, match="merge_and_unload"):
        resolve_encoder(str(tmp_path / "lora"))
    folder = saved(tmp_path / "splade", transformer(bert), parts().Pooling(32, "mean"))
    listed = json.loads((folder / "modules.json").read_text())
    listed[1]["type"] = "sentence_transformers.sparse_encoder.models.SpladePooling"
    (folder / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(EncoderError, match="a SparseEncoder"):
        resolve_encoder(str(folder))
