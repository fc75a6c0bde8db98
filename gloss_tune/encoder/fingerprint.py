"""What an encoder's folder computes, as one hash: of exactly the files that loading it reads.

A fingerprint names its scheme: ``2:`` and a SHA-256. Studies of 0.1.0 carry the bare SHA-256 of the first scheme, which
saw the weights of one kind and every ``config.json``; they go on being compared by it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from gloss_tune.errors import EncoderError

SCHEME = "2:"

# Of the weights in one folder, libraries load the first kind that is there.
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
_FIRST_MODULE = ("modules.json", "config_sentence_transformers.json")
# Configurations, tokenizers of every kind, templates, and code that a configuration may name.
_READ = (
    "config.json",
    "*_config.json",
    "tokenizer*.json",
    "*vocab*",
    "merges.txt",
    "*.model",
    "*.spm",
    "*.codes",
    "*.tiktoken",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.*",
    "*.jinja",
)
_NOT_READ = ("generation_config.json", "quantize_config.json", "*.md", "*.h5", "*.msgpack", "*.onnx")
# Keys that say who wrote a file, not what it computes.
_VOLATILE = frozenset({"_name_or_path", "name_or_path", "transformers_version", "__version__"})
_VOLATILE_V1 = frozenset({"_name_or_path", "transformers_version", "dtype", "torch_dtype"})


def fingerprint(folder: Path) -> str:
    """The hash of an encoder's folder.

    Raises:
        EncoderError: it has no configuration or no weights, or a configuration is no JSON.
    """
    digest = hashlib.sha256()
    for file in files_read(folder):
        name = file.relative_to(folder).as_posix()
        if file.suffix == ".json" and not file.name.startswith(("tokenizer.", "vocab")):
            content = json.dumps(_lasting(file), sort_keys=True)
        else:
            content = f"{file.stat().st_size} {sha256(file)}"
        digest.update(f"{name} {content}\n".encode())
    return SCHEME + digest.hexdigest()


def fingerprint_like(known: str | None, folder: Path, current: str) -> str:
    """The folder's fingerprint by the scheme of a known one.

    Args:
        known: what a study remembers; None where it remembers none.
        folder: the encoder's.
        current: its :func:`fingerprint`.
    """
    return current if known is None or known.startswith(SCHEME) else fingerprint_v1(folder)


def files_read(folder: Path) -> list[Path]:
    """The files that loading reads: of the folder itself and of the folders that ``modules.json`` names, no others.

    Raises:
        EncoderError: there is no configuration, or no weights of the first module.
    """
    modules = module_folders(folder)
    if not (folder / "modules.json").is_file() and not (folder / "config.json").is_file():
        raise _incomplete(folder, "config.json")
    missing = next((path for path, kind in modules if not is_whole(path, kind)), None)
    if missing is not None:
        raise _incomplete(missing, "weights (*.safetensors or pytorch_model.bin)")
    found = {file for path, _ in modules for file in _read_in(path)}
    gone = next((file for file in sorted(found) if not file.is_file()), None)
    if gone is not None:  # one of the parts that an index names
        raise _incomplete(gone.parent, gone.name)
    found |= {folder / name for name in _FIRST_MODULE if (folder / name).is_file()}
    if has_modules_of_its_own(folder) or _code_named(folder):
        found |= {file for path in {folder, *(path for path, _ in modules)} for file in path.glob("*.py")}
    return sorted(found)


def has_modules_of_its_own(folder: Path) -> bool:
    """Whether ``modules.json`` names classes in Python files beside it, which loading would run."""
    return any((folder / f"{kind.split('.')[0]}.py").is_file() for _, kind in _modules(folder))


def code_repositories(folder: Path) -> set[str]:
    """Repositories on the Hub where configurations say that their code lies."""
    return {name.partition("--")[0] for name in _code_named(folder) if "--" in name}


def _code_named(folder: Path) -> set[str]:
    """The classes that configurations of transformers name: ``file.Class``, or ``owner/repository--file.Class``."""
    found: set[str] = set()
    for path, _ in module_folders(folder):
        for name in ("config.json", "tokenizer_config.json"):
            config = _json(path / name) if (path / name).is_file() else {}
            for value in config.get("auto_map", {}).values() if isinstance(config, dict) else ():
                found.update(str(item) for item in (value if isinstance(value, list) else [value]) if item)
    return found


def module_folders(folder: Path) -> list[tuple[Path, str]]:
    """Each module's folder and kind, as ``modules.json`` says; one transformer where there is none."""
    named = [(path, kind.rpartition(".")[2]) for path, kind in _modules(folder)]
    return named or [(folder, "Transformer")]


def _modules(folder: Path) -> list[tuple[Path, str]]:
    """Folder and class of each module, and of those that a router chooses from."""
    try:
        listed = _json(folder / "modules.json") if (folder / "modules.json").is_file() else []
        found = [(folder / module["path"], str(module["type"])) for module in listed]
        for path, _ in tuple(found):
            if (path / "router_config.json").is_file():
                types = _json(path / "router_config.json")["types"]
                found.extend((path / name, str(kind)) for name, kind in types.items())
    except (KeyError, TypeError, AttributeError) as error:
        raise EncoderError(
            f"An encoder's modules.json must list modules with 'path' and 'type', got {folder} without ({error!r}); "
            "name a folder that SentenceTransformer.save wrote"
        ) from None
    return found


def is_whole(folder: Path, kind: str) -> bool:
    """Whether the weights of a module are there, if its kind has some."""
    needs = kind.endswith("Transformer") or kind in (
        "StaticEmbedding",
        "Dense",
        "WordEmbeddings",
        "CNN",
        "LSTM",
    )
    return not needs or next(_weights_in(folder), None) is not None


def sha256(file: Path) -> str:
    """Of a file's content."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read_in(folder: Path) -> Iterator[Path]:
    yield from _weights_in(folder)
    for file in folder.iterdir() if folder.is_dir() else ():
        if any(fnmatch(file.name, pattern) for pattern in _NOT_READ) or file.name.endswith(_WEIGHTS[1::2]):
            continue
        if file.is_file() and any(fnmatch(file.name, pattern) for pattern in _READ):
            yield file


def _weights_in(folder: Path) -> Iterator[Path]:
    kind = next((name for name in _WEIGHTS if (folder / name).is_file()), None)
    if kind is not None:
        yield folder / kind
        if kind.endswith(".index.json"):
            shards = set(_json(folder / kind).get("weight_map", {}).values())
            yield from sorted(folder / shard for shard in shards)
    yield from (folder / name for name in _ADAPTERS if (folder / name).is_file())


def _lasting(file: Path) -> Any:
    """What a configuration says, without who wrote it; the older name of ``dtype`` is the same."""
    config = _json(file)
    if not isinstance(config, dict):
        return config
    if "torch_dtype" in config:
        config.setdefault("dtype", config.pop("torch_dtype"))
    return {key: value for key, value in config.items() if key not in _VOLATILE}


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EncoderError(f"An encoder's {file.name} must be JSON, got {file}: {error}; fix it") from error


def _incomplete(folder: Path, missing: str) -> EncoderError:
    return EncoderError(
        f"An encoder's folder must hold a configuration and weights, got {folder} without {missing}; "
        "name a folder that SentenceTransformer.save or save_pretrained wrote"
    )


def fingerprint_v1(folder: Path) -> str:
    """The hash that 0.1.0 wrote into its studies.

    Raises:
        EncoderError: as that release did.
    """
    configs = sorted(folder.glob("config.json")) + sorted(folder.glob("*/config.json"))
    weights = _weights_v1(folder)
    if not weights or not configs:
        raise _incomplete(folder, "weights" if configs else "config.json")
    digest = hashlib.sha256()
    for file in configs:
        config = _json(file)
        if file.parts[-2] in ("onnx", "openvino"):
            continue
        lasting = {key: value for key, value in config.items() if key not in _VOLATILE_V1}
        digest.update(
            f"{file.relative_to(folder).as_posix()} {json.dumps(lasting, sort_keys=True)}\n".encode()
        )
    for file in weights:
        digest.update(
            f"{file.relative_to(folder).as_posix()} {file.stat().st_size} {sha256(file)}\n".encode()
        )
    return digest.hexdigest()


def _weights_v1(folder: Path) -> list[Path]:
    for pattern in ("*.safetensors", "pytorch_model*.bin"):
        files = [
            file
            for file in sorted(folder.rglob(pattern))
            if file.is_file() and file.relative_to(folder).parts[0] not in ("onnx", "openvino")
        ]
        if files:
            return files
    return []
