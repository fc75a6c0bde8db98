"""What a folder says that it holds: what is no sentence encoder, or has no weights of its own to train, is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gloss_tune.encoder.fingerprint import module_folders
from gloss_tune.errors import EncoderError

_OTHER_MODELS = {
    "CrossEncoder": "scores pairs of texts and embeds none",
    "SparseEncoder": "gives each word of its vocabulary a number, far too many for a graph of similarities",
    "MultiVectorEncoder": "gives each token a vector",
}
_SPARSE_MODULES = ("SpladePooling", "SparseAutoEncoder", "SparseStaticEmbedding", "MLMTransformer")


def refuse_other_kinds(folder: Path, name: str) -> None:
    """Refuse cross and sparse encoders, adapters without their base, and quantised weights.

    Args:
        folder: with the encoder's files.
        name: as the user gave it, for the error.

    Raises:
        EncoderError: which of these it is, and what to take instead.
    """
    modules = module_folders(folder)
    kind = _read(folder / "config_sentence_transformers.json").get("model_type")
    if any(module in _SPARSE_MODULES for _, module in modules):
        kind = "SparseEncoder"
    elif not (folder / "modules.json").exists() and "sentence_transformers" in _read(folder / "config.json"):
        kind = "CrossEncoder"
    if kind in _OTHER_MODELS:
        raise EncoderError(
            f"An encoder must turn a text into one vector, got '{name}', a {kind}, which {_OTHER_MODELS[kind]}; choose "
            "a SentenceTransformer"
        )
    for path, _ in [(folder, ""), *modules]:
        if (path / "adapter_config.json").is_file():
            base = _read(path / "adapter_config.json").get("base_model_name_or_path")
            raise EncoderError(
                f"An encoder must have all of its weights, got '{name}', adapters over {base!r}; merge them into it "
                "(peft: merge_and_unload), save the whole, and name that folder"
            )
        if quantised := _read(path / "config.json").get("quantization_config"):
            method = quantised.get("quant_method", "") if isinstance(quantised, dict) else quantised
            raise EncoderError(
                f"An encoder's weights must be trainable, got '{name}', whose are quantised ({method}); choose the "
                "model that it was made from"
            )


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError:  # said when the fingerprint is taken
        return {}
    return content if isinstance(content, dict) else {}
