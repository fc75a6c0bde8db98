"""How large an encoder is, in three classes, as far as learning rates are concerned."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

Size = Literal["small", "base", "large"]

# weights of the layers, without embeddings: MiniLM-L12 has 21 million, DistilBERT 42, BERT-base 85, BERT-large 302
_SMALL, _LARGE = 30e6, 200e6
_WIDTHS = ("hidden_size", "d_model", "dim", "n_embd")
_DEPTHS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")
_BY_NAME: tuple[tuple[Size, str], ...] = (
    ("large", r"large|xxl|xl\b"),
    ("small", r"mini|small|tiny|\bxs\b"),
    ("base", r"base|distil|mpnet"),
)


def size_of_folder(folder: Path) -> Size | None:
    """By the layers that the encoder's configuration names; None where it names none, as of static embeddings."""
    for file in (folder / "config.json", *sorted(folder.glob("*/config.json"))):
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if not isinstance(config, dict):
            continue
        width, depth = (_first(config, names) for names in (_WIDTHS, _DEPTHS))
        if width and depth:
            weights = 12 * depth * width**2
            return "small" if weights < _SMALL else "base" if weights < _LARGE else "large"
    return None


def size_by_name(name: str) -> Size | None:
    """By an encoder's name, where its files are not at hand; None where that does not say."""
    said = name.rstrip("/").rsplit("/", 1)[-1].lower()
    return next((size for size, pattern in _BY_NAME if re.search(pattern, said)), None)


def _first(config: dict[str, object], names: tuple[str, ...]) -> int:
    found = (config.get(name) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), 0)
