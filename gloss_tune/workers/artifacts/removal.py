"""Files of whole studies in the artifacts folder: which there are, how large, whose, and how they go."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from gloss_tune.workers.artifacts.trial_files import CHECKPOINTS, MODELS, bytes_in, remove

#: Folders of the artifacts folder in which each study has an entry of its own: those that begin with its files' name.
FINAL, TRACKING, HOSTS, LAUNCHES = "final", "tracking", "hosts", "launch"
# a study's files are called NAME.IDENTIFIER (see OpenStudy), eight digits of it since the second release
_FILES = re.compile(r"(?P<files>.+\.[0-9a-f]{8})(-trial-\d+-seeds-\d+)?")
# Optuna calls an attachment by a random UUID
_ATTACHED = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def study_files(artifacts: Path, files: str, name: str, attached: Collection[str]) -> list[Path]:
    """All that a study has in the artifacts folder.

    Args:
        artifacts: the folder.
        files: what the study's files are called.
        name: the study's name.
        attached: names of the files that Optuna attached to it, as its database tells them.
    """
    found = [artifacts / kind / files for kind in (CHECKPOINTS, MODELS, TRACKING, LAUNCHES)]
    found += [artifacts / FINAL / entry for entry in _entries(artifacts / FINAL) if _owner(entry) == files]
    # from a shared database: such a name must not lead out of the folder
    found += [artifacts / attachment for attachment in attached if _ATTACHED.fullmatch(attachment)]
    return [*found, artifacts / HOSTS / name]


def ownerless(artifacts: Path, known: Collection[str]) -> list[Path]:
    """Files of studies that are none of these: what is left where a study was deleted without its files.

    Args:
        artifacts: the folder, which several storages may share.
        known: what the files of the studies are called that are there.
    """
    return [
        artifacts / kind / entry
        for kind in (CHECKPOINTS, MODELS, TRACKING, LAUNCHES, FINAL)
        for entry in _entries(artifacts / kind)
        if (owner := _owner(entry)) is not None and owner not in known
    ]


def left_files(paths: Iterable[Path]) -> tuple[tuple[Path, ...], int]:
    """Those that exist, and the bytes that they take."""
    found = tuple(path for path in paths if path.exists() or path.is_symlink())
    return found, sum(bytes_in(path) if path.is_dir() else path.lstat().st_size for path in found)


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files and folders; what cannot be removed stays, with a warning."""
    for path in paths:
        remove(path)


def _entries(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - iterdir of Python 3.10 raises later
    except OSError:
        return []


def _owner(entry: str) -> str | None:
    """What the files of the study are called that an entry belongs to; None for anything else."""
    match = _FILES.fullmatch(entry)
    return None if match is None else match["files"]
