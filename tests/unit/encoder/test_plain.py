"""Which folders are loaded without sentence-transformers, and that they compute what it computes."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from gloss_tune.encoder import Encoder, resolve_encoder
from gloss_tune.encoder.modules import PlainModel
from gloss_tune.encoder.plain import PlainEncoder, as_plain
from tests.unit.finetune.tiny import write_encoder

TEXTS = ["a1 b2 c3", "d4 e5", "f0"]  # longest first


def parts() -> ModuleType:
    try:
        return importlib.import_module("sentence_transformers.sentence_transformer.modules")
    except ImportError:  # before sentence-transformers 6
        return importlib.import_module("sentence_transformers.models")


def saved(folder: Path, *after: Any) -> Path:
    """A folder as sentence-transformers writes it."""
    transformer = parts().Transformer(str(write_encoder(folder / "transformer")))
    path = folder / "model"
    SentenceTransformer(modules=[transformer, *after], device="cpu").save(str(path), create_model_card=False)
    return path


def change(file: Path, **entries: object) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**content, **entries}))


def embedded(encoder: Encoder) -> torch.Tensor:
    rows = encoder.tokenizer(TEXTS)["input_ids"]
    encoder.model.eval()
    with torch.no_grad():
        return encoder.embed(
            torch.tensor([token for row in rows for token in row]), np.array([len(row) for row in rows])
        )


def test_a_transformer_alone_is_pooled_by_the_mean(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path)
    assert as_plain(folder) == PlainEncoder(folder, "mean")


@pytest.mark.parametrize("mode", ["mean", "cls", "max"])
@pytest.mark.parametrize("normalised", [False, True])
def test_plain_encoders_embed_as_sentence_transformers_does(
    tmp_path: Path, mode: str, normalised: bool
) -> None:
    after = [parts().Normalize()] if normalised else []
    folder = saved(tmp_path, parts().Pooling(32, mode), *after)
    assert as_plain(folder) == PlainEncoder(folder, mode)
    encoder = Encoder.load(resolve_encoder(str(folder)), max_length=16)
    assert isinstance(encoder.model, PlainModel)
    found = embedded(encoder)
    if normalised:
        found = torch.nn.functional.normalize(found, dim=1)
    expected = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_published_minilm_is_plain_in_the_words_of_its_time() -> None:
    resolved = resolve_encoder("all-MiniLM-L6-v2")
    assert as_plain(resolved.path) == PlainEncoder(resolved.path, "mean")


def test_the_transformer_may_lie_in_a_folder_of_its_own(tmp_path: Path) -> None:
    folder = saved(tmp_path, parts().Pooling(32, "mean"))
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "../transformer"
    (folder / "modules.json").write_text(json.dumps(modules))
    found = as_plain(folder)
    assert found is not None
    assert found.folder.resolve() == tmp_path / "transformer"


def test_an_encoder_with_more_modules_is_left_to_sentence_transformers(tmp_path: Path) -> None:
    folder = saved(tmp_path, parts().Pooling(32, "mean"), parts().Dense(32, 8))
    assert as_plain(folder) is None
    encoder = Encoder.load(resolve_encoder(str(folder)), max_length=16)
    theirs = SentenceTransformer(str(folder), device="cpu")
    torch.testing.assert_close(
        embedded(encoder), theirs.encode(TEXTS, convert_to_tensor=True), rtol=1e-4, atol=1e-5
    )
    assert encoder.dimension == 8
    encoder.save(tmp_path / "again")
    again = SentenceTransformer(str(tmp_path / "again"), device="cpu")
    torch.testing.assert_close(
        again.encode(TEXTS, convert_to_tensor=True), theirs.encode(TEXTS, convert_to_tensor=True)
    )


@pytest.mark.parametrize(
    ("file", "entries"),
    [
        ("config.json", {"model_type": "t5"}),
        ("config.json", {"auto_map": {"AutoModel": "own.Model"}}),
        ("config.json", {"is_decoder": True}),
        ("sentence_bert_config.json", {"do_lower_case": True}),
        ("sentence_bert_config.json", {"unpad_inputs": True}),
        ("sentence_bert_config.json", {"module_output_name": "sentence_embedding"}),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "max"]}),
        ("1_Pooling/config.json", {"pooling_mode": "weightedmean"}),
        ("adapter_config.json", {}),
    ],
)
def test_what_a_folder_asks_beyond_the_plain_is_not_overlooked(
    tmp_path: Path, file: str, entries: dict[str, object]
) -> None:
    folder = saved(tmp_path, parts().Pooling(32, "mean"))
    assert as_plain(folder) is not None
    change(folder / file, **entries)
    assert as_plain(folder) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '[{"type": 1}, 2]'])
def test_modules_that_cannot_be_read_are_left_to_sentence_transformers(tmp_path: Path, content: str) -> None:
    folder = write_encoder(tmp_path)
    (folder / "modules.json").write_text(content)
    assert as_plain(folder) is None


def test_loading_one_needs_no_sentence_transformers(tmp_path: Path) -> None:
    """Nor what it brings along: seconds of every worker's start, and memory of every worker."""
    script = (
        "import sys; from gloss_tune.encoder import Encoder, resolve_encoder; import gloss_tune.finetune.loop; "
        "Encoder.load(resolve_encoder(sys.argv[1]), max_length=16); "
        "print(*sorted({'sentence_transformers', 'datasets', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    folder = write_encoder(tmp_path)
    ran = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == ""
