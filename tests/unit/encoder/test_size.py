"""How large an encoder is: by its configuration, else by its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gloss_tune.encoder.size import size_by_name, size_of_folder


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"hidden_size": 384, "num_hidden_layers": 6}, "small"),  # MiniLM-L6
        ({"hidden_size": 384, "num_hidden_layers": 12}, "small"),  # MiniLM-L12, bge-small
        ({"dim": 768, "n_layers": 6}, "base"),  # DistilBERT
        ({"hidden_size": 768, "num_hidden_layers": 12}, "base"),
        ({"d_model": 768, "num_layers": 12}, "base"),  # T5
        ({"hidden_size": 1024, "num_hidden_layers": 24}, "large"),
        ({"hidden_size": 768}, None),
        ({"hidden_size": "768", "num_hidden_layers": 12}, None),
        ([], None),
    ],
)
@pytest.mark.parametrize("place", ["", "0_Transformer"])
def test_by_the_layers(tmp_path: Path, config: object, size: str | None, place: str) -> None:
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert size_of_folder(tmp_path) == size


def test_a_folder_without_a_readable_configuration_says_nothing(tmp_path: Path) -> None:
    assert size_of_folder(tmp_path) is None
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    assert size_of_folder(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("sentence-transformers/all-MiniLM-L6-v2", "small"),
        ("BAAI/bge-small-en-v1.5", "small"),
        ("prajjwal1/bert-tiny", "small"),
        ("bert-base-uncased", "base"),
        ("distilbert/distilroberta-v1", "base"),
        ("sentence-transformers/all-mpnet-base-v2", "base"),
        ("intfloat/multilingual-e5-large", "large"),
        ("large/of-nobody", None),
        ("someone/encoder", None),
    ],
)
def test_by_the_name(name: str, size: str | None) -> None:
    assert size_by_name(name) == size
