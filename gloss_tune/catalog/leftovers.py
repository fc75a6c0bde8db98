"""Files that no study of a storage owns: left where one was deleted by a tool that does not know of them."""

from __future__ import annotations

from pathlib import Path

from gloss_tune.storage.connect import open_storage
from gloss_tune.study.study import all_studies
from gloss_tune.workers.artifacts.removal import left_files, ownerless, remove_files


def prune_files(url: str, artifacts: Path, *, remove: bool) -> tuple[tuple[Path, ...], int]:
    """The files and folders that belong to no study of the storage, and the bytes that they take.

    Args:
        url: the storage.
        artifacts: the folder; where storages share it, what is another one's is listed too.
        remove: whether to remove them.
    """
    storage = open_storage(url, read_only=True)
    known = {study.files for study in all_studies(storage)}
    found, taken = left_files(ownerless(artifacts, known))
    if remove:
        remove_files(found)
    return found, taken
