"""Studies copied, renamed and deleted, each with its confirmation, in one transaction, not under a live worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gloss_tune.catalog.listing import confirmation_in
from gloss_tune.confirm.confirmation import confirmation_name
from gloss_tune.errors import InputError
from gloss_tune.logging import logger
from gloss_tune.queue.heartbeats import AT_WORK, live_workers
from gloss_tune.queue.steering import STEERING
from gloss_tune.storage import schema
from gloss_tune.storage.shared_storage import SharedStorage
from gloss_tune.storage.study_rows import attached_files, copy_rows, delete_rows, name_is_taken, rename_rows
from gloss_tune.study.results import read_history
from gloss_tune.study.study import (
    CONFIRMS,
    CREATED,
    FILES,
    IDENTIFIER,
    OpenStudy,
    all_studies,
    check_name,
    created_now,
    files_name,
    new_identifier,
    open_study,
)
from gloss_tune.wording import count, size
from gloss_tune.workers.artifacts.removal import left_files, remove_files, study_files

#: Beginnings of attributes that are the original's alone: who works on it and how, its attachments and notes.
_NOT_COPIED = (AT_WORK, STEERING, schema.ATTACHMENT, "dashboard:")


@dataclass(frozen=True)
class Deletion:
    """What a deletion takes away.

    Args:
        names: of the studies: one, and its confirmation where there is one.
        trials: how many they have together.
        files: paths in the artifacts folder.
        bytes: what these take.
    """

    names: tuple[str, ...]
    trials: int
    files: tuple[Path, ...]
    bytes: int

    @property
    def text(self) -> str:
        """In words."""
        kept = f"{count(len(self.files), 'file or folder', 'files and folders')} of {size(self.bytes)}"
        return f"{' and '.join(self.names)} with {count(self.trials, 'trial')} and {kept}"


def copy_study(url: str, source: str, name: str) -> OpenStudy:
    """Copy a study and its confirmation under another name. Files stay the original's: the copy has none.

    Trials that run wait in the copy, to be run there from their start.

    Raises:
        InputError: there is no such study, or the name is taken. Nothing was written.
    """
    original = open_study(url, source)
    _change(original.storage, name, _copy(original, name))
    return open_study(url, name)


def rename_study(url: str, source: str, name: str, *, force: bool = False) -> OpenStudy:
    """Give a study and its confirmation another name; its files stay where they are.

    Raises:
        InputError: there is no such study, the name is taken, or workers are at work and ``force`` is not given.
            Nothing was written.
    """
    study = open_study(url, source)
    _refuse_at_work(study, "renamed", force)
    _change(study.storage, name, _rename(study, name))
    return open_study(url, name)


def plan_deletion(url: str, name: str, artifacts: Path, *, force: bool = False) -> Deletion:
    """What :func:`delete_study` would take away.

    Raises:
        InputError: there is no such study, or workers are at work and ``force`` is not given.
    """
    return _planned(_deletable(url, name, force), artifacts)


def delete_study(url: str, name: str, artifacts: Path, *, force: bool = False) -> Deletion:
    """Delete a study with its confirmation and all their files; of one that was moved, these stay.

    Raises:
        InputError: as :func:`plan_deletion`.
    """
    parts = _deletable(url, name, force)
    planned = _planned(parts, artifacts)
    with parts[0].storage.transaction() as session:
        for part in parts:
            delete_rows(session, part.study_id)
    remove_files(planned.files)
    return planned


def _deletable(url: str, name: str, force: bool) -> list[OpenStudy]:
    study = open_study(url, name, moved_too=True)
    _refuse_at_work(study, "deleted", force)
    return parts_of(study)


def _planned(parts: list[OpenStudy], artifacts: Path) -> Deletion:
    found: list[Path] = []
    for part in parts:
        if part.moved is not None:  # its files are those of the study that goes on elsewhere
            continue
        with part.storage.reading() as session:
            attached = attached_files(session, part.study_id)
        found += study_files(artifacts, part.files, part.name, attached)
    files, taken = left_files(found)
    return Deletion(
        tuple(part.name for part in parts), sum(len(read_history(part)) for part in parts), files, taken
    )


def parts_of(study: OpenStudy) -> list[OpenStudy]:
    """A study, and its confirmation if it has one."""
    confirmation = confirmation_in(all_studies(study.storage), study)
    return [study] if confirmation is None else [study, confirmation]


def _refuse_at_work(study: OpenStudy, what: str, force: bool) -> None:
    parts = parts_of(study)
    workers = [
        worker
        for part in parts
        for worker in live_workers(part.storage, part.study_id, part.spec.lease)
        if not worker.is_gone
    ]
    if not workers:
        return
    names = ", ".join(f"{worker.host} (pid {worker.pid})" for worker in workers[:5])
    if not force:
        raise InputError(
            f"Study {study.name!r} cannot be {what}: {count(len(workers), 'worker')} at work on it, {names}. Stop "
            "them first ('gloss-tune stop'), or give --force: they end at their next trial, and what they run is lost"
        )
    logger.warning("Study %s is %s while %s at work on it.", study.name, what, count(len(workers), "worker"))


def _change(storage: SharedStorage, name: str, write: Callable[[Any], None]) -> None:
    """Look and write in one transaction, one process at a time: two that want one name cannot both get it."""
    names = [check_name(name), check_name(confirmation_name(name))]
    with storage.exclusive() as session:
        for wanted in names:
            if name_is_taken(session, wanted):
                raise InputError(
                    f"Storage {storage.redacted_url} has a study {wanted!r} already; choose another name, or delete it "
                    f"('gloss-tune studies delete {wanted}')"
                )
        write(session)


def _copy(original: OpenStudy, name: str) -> Callable[[Any], None]:
    parts = parts_of(original)
    identifier = new_identifier()

    def write(session: Any) -> None:
        files = files_name(name, identifier)
        own: dict[str, Any] = {IDENTIFIER: identifier, FILES: files, CREATED: created_now()}
        copy_rows(session, original.study_id, name, own, _NOT_COPIED)
        for part in parts[1:]:
            child = confirmation_name(name)
            confirms = {**(part.confirms or {}), "study": name, "files": files}
            own = {**own, FILES: files_name(child, identifier), CONFIRMS: confirms}
            copy_rows(session, part.study_id, child, own, _NOT_COPIED)

    return write


def _rename(study: OpenStudy, name: str) -> Callable[[Any], None]:
    parts = parts_of(study)

    def write(session: Any) -> None:
        rename_rows(session, study.study_id, name, {FILES: study.files})
        for part in parts[1:]:
            confirms = {**(part.confirms or {}), "study": name}
            own = {FILES: part.files, CONFIRMS: confirms}
            rename_rows(session, part.study_id, confirmation_name(name), own)

    return write
