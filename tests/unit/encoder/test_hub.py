"""What is fetched from a Hub: what sentence-transformers loads, at one commit; here from a stub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gloss_tune.encoder.fingerprint import fingerprint
from tests.unit.encoder.families import WORDS, write_family
from tests.unit.encoder.stub_hub import StubHub
from tests.unit.encoder.test_check import parts, saved, transformer

FIRST, SECOND = "a" * 40, "b" * 40
SCRIPT = """
import json, sys
from gloss_tune.encoder import resolve_encoder, Encoder
resolved = resolve_encoder("own/encoder", revision=sys.argv[1] or None)
Encoder.load(resolved, max_length=16)
print(json.dumps([resolved.fingerprint, resolved.revision, str(resolved.path)]))
"""


def repository(folder: Path) -> Path:
    """Safetensors at the root, an older kind of weights in a later module, a tokenizer of odd files, and ballast."""
    from transformers import PhobertTokenizer

    plain = write_family(folder / "plain", "roberta")
    for file in plain.glob("*token*"):
        file.unlink()
    (folder / "vocab.txt").write_text("\n".join(f"{word} 1" for word in WORDS[:50]))
    (folder / "bpe.codes").write_text("a 1</w> 1\nb 2</w> 1\n")
    PhobertTokenizer(str(folder / "vocab.txt"), str(folder / "bpe.codes")).save_pretrained(plain)
    whole = saved(folder / "whole", transformer(plain), parts().Pooling(32, "mean"), parts().Dense(32, 8))
    weights = load_file(whole / "2_Dense" / "model.safetensors")
    (whole / "2_Dense" / "model.safetensors").unlink()
    torch.save(weights, whole / "2_Dense" / "pytorch_model.bin")
    for ballast in (
        "onnx/model.onnx",
        "tf_model.h5",
        "checkpoint-200/model.safetensors",
        "pytorch_model.bin",
    ):
        (whole / ballast).parent.mkdir(exist_ok=True)
        (whole / ballast).write_bytes(b"ballast")
    return whole


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[StubHub]:
    first = repository(tmp_path / "first")
    second = Path(shutil.copytree(first, tmp_path / "second"))
    content = bytearray((second / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (second / "model.safetensors").write_bytes(content)
    hub = StubHub("own/encoder", {FIRST: first, SECOND: second})
    yield hub
    hub.close()


def resolve(hub: StubHub, home: Path, revision: str = "", *, offline: bool = False) -> list[str]:
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": str(int(offline)),
        "TRANSFORMERS_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_XET": "1",
    }
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, revision], capture_output=True, text=True, env=environment, timeout=120
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found: list[str] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_what_loading_reads_is_fetched_at_one_commit(hub: StubHub, tmp_path: Path) -> None:
    found, revision, path = resolve(hub, tmp_path / "home")
    assert revision == SECOND, "main"
    fetched = {name.partition(":")[2] for name in hub.fetched}
    assert {name[0] for name in hub.fetched} == {"b"}
    assert {
        "model.safetensors",
        "2_Dense/pytorch_model.bin",
        "bpe.codes",
        "vocab.txt",
        "modules.json",
    } <= fetched
    assert not fetched & {
        "onnx/model.onnx",
        "tf_model.h5",
        "checkpoint-200/model.safetensors",
        "pytorch_model.bin",
    }
    assert found == fingerprint(Path(path))
    count = len(hub.fetched)
    assert resolve(hub, tmp_path / "home", offline=True) == [found, SECOND, path], "from the cache"
    assert resolve(hub, tmp_path / "home", FIRST)[:2] != [found, SECOND]
    assert len(hub.fetched) > count
    assert {name for name in hub.fetched[count:] if name.endswith("model.safetensors")} == {
        "a:model.safetensors"
    }
