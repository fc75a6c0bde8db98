"""Data sets of the Hugging Face Hub: resolved to one commit, fetched by the library ``datasets``, kept for offline."""

from __future__ import annotations

import importlib
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

from gloss_tune.atomic import whole_folder
from gloss_tune.data.cache import cache_dir
from gloss_tune.data.hub_name import HubName, readings
from gloss_tune.errors import DataError

_TIMEOUT_SECONDS = 10.0
_DEFAULT = "default"


def pin(asked: str, *, download: bool = True) -> HubName:
    """The data set at one commit: the one that the Hub has now, or without network the last one fetched here.

    Args:
        asked: ``hf:…``; one with a commit that is on this machine is taken without asking the Hub.
        download: whether the Hub may be asked.

    Raises:
        DataError: there is no such data set, it needs code or a token, or the Hub does not answer.
    """
    candidates = readings(asked)
    for name in candidates:
        if name.is_pinned and _place(name).is_dir():
            return name
    datasets_library(asked)
    if not download:
        return _kept(candidates) or _refuse_absent(asked)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    for name in candidates:
        try:
            info = HfApi().dataset_info(name.repository, revision=name.revision, timeout=_TIMEOUT_SECONDS)
        except (RepositoryNotFoundError, HFValidationError):
            continue
        except RevisionNotFoundError:
            raise DataError(
                f"{asked} does not exist: {name.repository} has no revision {name.revision!r}. Name a branch, tag or "
                "commit of it, or leave @… out."
            ) from None
        # the Hub client raises its own, the HTTP library's and the operating system's errors
        except Exception as error:
            kept = _kept(candidates)
            if kept is not None:
                return kept
            raise _unreachable(asked, error) from None
        files = {file.rfilename for file in info.siblings or ()}
        script = f"{name.repository.rpartition('/')[2]}.py"
        if script in files:
            raise DataError(
                f"{asked} is made by code of its own ({script}), which is not run here. Use a copy of it in Parquet "
                "(many have a revision refs/convert/parquet), or save it as files."
            )
        return replace(name, repository=str(info.id or name.repository), revision=str(info.sha))
    raise DataError(
        f"The Hub has no data set {asked!r}, or none that this machine may see. Check the name; for a private one, log "
        "in ('hf auth login', or HF_TOKEN)."
    )


def fetched(name: HubName) -> Path:
    """The folder of a data set at its commit, fetched unless it is there.

    Raises:
        DataError: it cannot be loaded; with what the library says.
    """
    place = _place(name)
    if place.is_dir():
        return place
    datasets = datasets_library(str(name))
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        loaded: Any = datasets.load_dataset(name.repository, name.config, revision=name.revision)
    # besides the library's, the Hub client's, the HTTP library's and the operating system's errors
    except Exception as error:
        raise _not_loaded(name, error) from error
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(place) as unfinished:
            loaded.save_to_disk(str(unfinished))
    except OSError as error:
        if not place.is_dir():  # else another process has put the same there meanwhile
            raise DataError(f"{name} cannot be kept in {place.parent} ({error}). Make room there.") from error
    return place


def datasets_library(asked: str) -> Any:
    """The library, which is an extra.

    Raises:
        DataError: it is not installed.
    """
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise DataError(
            f"{asked} is read by the package datasets, which is not installed. Install it: "
            "pip install 'gloss-tune[hub]'."
        ) from error


def _place(name: HubName) -> Path:
    return _folder(name) / str(name.revision)


def _folder(name: HubName) -> Path:
    return cache_dir() / "datasets" / "hub" / name.repository.replace("/", "___") / (name.config or _DEFAULT)


def _kept(candidates: list[HubName]) -> HubName | None:
    """The last one fetched here; one of a branch or tag cannot be told from others."""
    for name in candidates:
        folder = _folder(name)
        if name.revision is None and folder.is_dir():
            commits = [path for path in folder.iterdir() if replace(name, revision=path.name).is_pinned]
            if commits:
                return replace(name, revision=max(commits, key=lambda path: path.stat().st_mtime).name)
    return None


def _refuse_absent(asked: str) -> HubName:
    raise DataError(
        f"Data set {asked!r} is not on this machine. Fetch it with `gloss-tune datasets fetch {asked}`."
    )


def _unreachable(asked: str, error: Exception) -> DataError:
    return DataError(
        f"{asked} is not on this machine, and the Hub does not answer "
        f"({textwrap.shorten(str(error) or type(error).__name__, 200)}). Check the network, or name a file or folder."
    )


def _not_loaded(name: HubName, error: Exception) -> DataError:
    said = textwrap.shorten(str(error) or type(error).__name__, 400)
    if "gated" in said.lower() or type(error).__name__ == "GatedRepoError":
        advice = "Accept its terms on its page, and log in ('hf auth login', or HF_TOKEN)."
    elif "config" in said.lower():
        advice = f"Name one of its configurations: hf:{name.repository}/CONFIG."
    else:
        advice = "Check the name, the network and what is in it."
    return DataError(f"{name} cannot be loaded: {said.rstrip('.')}. {advice}")
