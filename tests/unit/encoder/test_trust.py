"""Code that comes with an encoder: run only where it is trusted, and then the code that the study was made with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from gloss_tune.encoder import Encoder, resolve_encoder
from gloss_tune.encoder.check import check_encoder
from gloss_tune.errors import EncoderError
from gloss_tune.spec.build import build_spec
from gloss_tune.study.encoder import describe_encoder, study_encoder
from tests.unit.encoder.families import write_family
from tests.unit.encoder.test_check import change, parts, saved, transformer
from tests.unit.encoder.test_families import TEXTS

CODE = """
from pathlib import Path
from transformers import BertConfig, BertModel

(Path(__file__).parent / "ran").touch()


class OwnConfig(BertConfig):
    model_type = "own-bert"


class OwnModel(BertModel):
    config_class = OwnConfig
"""
POOLING = """
try:
    from sentence_transformers.sentence_transformer.modules import Pooling
except ImportError:  # before sentence-transformers 6
    from sentence_transformers.models import Pooling


class OwnPooling(Pooling):
    pass
"""
COMMIT = "c" * 40


@pytest.fixture(autouse=True)
def _caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))


def with_code(folder: Path, place: str) -> Path:
    write_family(folder, "bert")
    (folder / "modeling_own.py").write_text(CODE)
    names = {"AutoConfig": f"{place}modeling_own.OwnConfig", "AutoModel": f"{place}modeling_own.OwnModel"}
    change(folder / "config.json", auto_map=names, model_type="own-bert", architectures=["OwnModel"])
    return folder


def test_code_beside_the_weights_is_asked_for_by_name(tmp_path: Path) -> None:
    folder = with_code(tmp_path / "encoder", "")
    with pytest.raises(EncoderError, match=r"run only where it is trusted.*--trust-remote-code"):
        Encoder.load(resolve_encoder(str(folder)), max_length=16)
    trusted = resolve_encoder(str(folder), trust_remote_code=True)
    assert check_encoder(trusted, TEXTS, 16).way == "without padding"
    (folder / "modeling_own.py").write_text(CODE + "\n")
    assert resolve_encoder(str(folder), trust_remote_code=True).fingerprint != trusted.fingerprint


def test_modules_beside_the_weights_are_code_too(tmp_path: Path) -> None:
    bert = write_family(tmp_path / "bert", "bert")
    folder = saved(tmp_path / "encoder", transformer(bert), parts().Pooling(32, "mean"))
    (folder / "own_pooling.py").write_text(POOLING)
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "own_pooling.OwnPooling"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderError, match="--trust-remote-code"):
        resolve_encoder(str(folder))
    assert check_encoder(resolve_encoder(str(folder), trust_remote_code=True), TEXTS, 16).unknown == 0.0


def test_an_architecture_that_transformers_has_by_now_needs_no_trust(tmp_path: Path) -> None:
    folder = write_family(tmp_path, "bert")
    change(folder / "config.json", auto_map={"AutoModel": "elsewhere/code--modeling_own.OwnModel"})
    assert check_encoder(resolve_encoder(str(folder)), TEXTS, 16).way == "without padding"


def test_code_elsewhere_is_pinned_to_a_commit(tmp_path: Path) -> None:
    folder = with_code(tmp_path / "encoder", "own/code--")
    snapshot = tmp_path / "hub" / "models--own--code" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    shutil.move(folder / "modeling_own.py", snapshot / "modeling_own.py")
    (tmp_path / "hub" / "models--own--code" / "refs").mkdir()
    (tmp_path / "hub" / "models--own--code" / "refs" / "main").write_text(COMMIT)
    spec = build_spec({"dataset": "mr", "model": str(folder), "trust_remote_code": True})
    found = study_encoder(spec)
    assert found.code_revision == COMMIT
    assert describe_encoder(found)["code_revision"] == COMMIT
    assert check_encoder(found, TEXTS, 16).way == "without padding"
    other = "d" * 40
    assert study_encoder(spec, {"code_revision": other}).code_revision == other, "the study's own"
