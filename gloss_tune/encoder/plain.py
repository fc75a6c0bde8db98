"""Plain encoders, a transformer and one pooling, loaded with transformers alone.

Nearly every sentence encoder is one. Importing sentence-transformers takes as long as torch and transformers together,
and 130 MB in every worker, for its trainers, data sets and metrics; so it is left to the folders that need it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

PoolingMode: TypeAlias = Literal["mean", "cls", "max"]

# Encoders that AutoModel loads as they are: no decoder to leave out, no code of their own.
_MODEL_TYPES = frozenset(
    {"albert", "bert", "camembert", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet"}
    | {"roberta", "xlm-roberta"}
)
# What a Transformer's own file may say without asking for more than its tokens' last states.
_ORDINARY: dict[str, Any] = {
    "do_lower_case": False,
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
_WITHOUT_EFFECT = frozenset({"max_seq_length", "model_max_length"})  # a study says how long its documents are
_LEGACY_MODES: dict[str, PoolingMode] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
}


@dataclass(frozen=True)
class PlainEncoder:
    """Where a plain encoder's transformer lies, and how its states become an embedding.

    Args:
        folder: of the transformer and its tokenizer.
        pooling: over a document's tokens.
    """

    folder: Path
    pooling: PoolingMode


def as_plain(folder: Path) -> PlainEncoder | None:
    """What a folder describes, if that is a plain encoder; None where it says anything else, or nothing readable.

    Args:
        folder: as sentence-transformers or transformers saved it. A final normalisation does not count.
    """
    try:
        modules = _json(folder / "modules.json") if (folder / "modules.json").is_file() else None
        if modules is None:
            found = PlainEncoder(folder, "mean")  # sentence-transformers' choice where nothing is said
        else:
            types = [module["type"] for module in modules]
            kinds = [kind.rpartition(".")[2] for kind in types]
            if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
                return None
            if not all(kind.startswith("sentence_transformers.") for kind in types):
                return None
            pooling = _pooling(_json(folder / modules[1]["path"] / "config.json"))
            if pooling is None:
                return None
            found = PlainEncoder(folder / modules[0]["path"], pooling)
        return found if _is_ordinary(found.folder) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_ordinary(folder: Path) -> bool:
    config = _json(folder / "config.json")
    if config["model_type"] not in _MODEL_TYPES or config.get("auto_map") or config.get("is_decoder"):
        return False
    if (folder / "adapter_config.json").exists():
        return False
    said: dict[str, Any] = {}
    for file in folder.glob("sentence_*_config.json"):
        said |= _json(file)
    return all(
        name in _WITHOUT_EFFECT or (name in _ORDINARY and said[name] == _ORDINARY[name]) for name in said
    )


def _pooling(config: dict[str, Any]) -> PoolingMode | None:
    named = config.get("pooling_mode")
    modes = (
        [named]
        if named is not None
        else [name for name, chosen in config.items() if name.startswith("pooling_mode_") and chosen is True]
    )
    modes = [_LEGACY_MODES.get(mode, mode) for mode in modes]
    known = len(modes) == 1 and modes[0] in _LEGACY_MODES.values()
    return cast(PoolingMode, modes[0]) if known else None


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
