"""Studies moved from one storage to another, whole or not at all, with their confirmations, not under a live worker.

Nobody writes to the source while its rows are read. They are written in one transaction, compared before that is
committed, and only then does the source say that the study has moved: whoever is killed in between repeats the
command, which finds the same study in both places and marks the one that was left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gloss_tune.catalog.changes import parts_of
from gloss_tune.errors import GlossTuneError, InputError
from gloss_tune.logging import logger
from gloss_tune.queue.heartbeats import AT_WORK, present_workers
from gloss_tune.queue.steering import STEERING, Steering, steering_of
from gloss_tune.storage.connect import open_storage
from gloss_tune.storage.shared_storage import SharedStorage
from gloss_tune.storage.study_attributes import read_attribute
from gloss_tune.storage.study_rows import delete_rows, set_study_attributes
from gloss_tune.storage.transfer import (
    carry_study,
    count_trials,
    hold_open,
    is_same_place,
    is_same_study,
    keep_writers_out,
    study_keys,
)
from gloss_tune.storage.url import is_same_url, shown_everywhere
from gloss_tune.study.study import IDENTIFIER, MOVED, OpenStudy, all_studies, created_now, open_study
from gloss_tune.wording import count

#: Beginnings of the attributes that stay behind: who works there, and that the study has left.
_STAY = (AT_WORK, MOVED)


@dataclass(frozen=True)
class Move:
    """What was moved.

    Args:
        studies: their names, confirmations too.
        trials: how many they have together.
        source: the storage that they left, without its password.
        target: the storage where they are now.
        requeued: how many trials ran, and wait now.
        steered: those of the studies that are paused or stopped, there as here.
        deleted: whether the source holds them no more; else it keeps them, marked.
    """

    studies: tuple[str, ...]
    trials: int
    source: str
    target: str
    requeued: int
    steered: tuple[str, ...]
    deleted: bool


def move_studies(
    source: str, target: str, name: str | None = None, *, delete_source: bool = False, force: bool = False
) -> Move:
    """Move a study, or all of gloss-tune's, to another storage: numbers, states, values, reports, attributes, times.

    Files stay where they are, and go on to be the study's. What is left in the source can be looked at and deleted;
    no worker runs it, and moving the study back replaces it.

    Args:
        source: the storage, a URL or ``@FILE``.
        target: likewise; its tables are made if it has none.
        name: of the study; None for all.
        delete_source: leave nothing of it in the source.
        force: even while workers are at work or trials run: what these have begun waits in the target.

    Raises:
        InputError: there is no such study, it is at work, or the target has another of its name. Nothing was written.
        GlossTuneError: the target changed what it was given. Nothing was written.
    """
    shown = shown_everywhere(target)
    if is_same_url(source, target):
        raise InputError(_same(shown))
    leaving, parts = _chosen(source, name)
    trials = requeued = 0
    steered = []
    with leaving.transaction() as reading:
        for part in parts:
            requeued += _check_idle(reading, part, force)
        arriving = open_storage(target, create=True)
        with arriving.exclusive() as writing:
            hold_open(writing)
            if is_same_place(reading, writing):
                raise InputError(_same(leaving.redacted_url))
            for part in parts:
                trials += _carry(reading, part, writing, arriving.redacted_url)
                steered += [part.name] if steering_of(reading, part.study_id) else []
        for part in parts:  # the target has them now, whatever happens
            _leave(reading, part.study_id, shown, delete_source)
    return Move(
        studies=tuple(part.name for part in parts),
        trials=trials,
        source=leaving.redacted_url,
        target=arriving.redacted_url,
        requeued=requeued,
        steered=tuple(steered),
        deleted=delete_source,
    )


def _same(shown: str) -> str:
    return f"A study moves from one storage to another, and both FROM and TO are {shown}; name another one"


def _chosen(url: str, name: str | None) -> tuple[SharedStorage, list[OpenStudy]]:
    if name is not None:
        study = open_study(url, name)
        everything = all_studies(study.storage)
        whole = [s for s in everything if study.confirms and s.files == study.confirms["files"]]
        if whole:
            raise InputError(
                f"Study {name!r} is the confirmation of {whole[0].name!r}, and moves with that; name that"
            )
        return study.storage, parts_of(study)
    storage = open_storage(url)
    ours = all_studies(storage)
    found = [study for study in ours if study.moved is None]
    if not found:
        raise InputError(
            f"Storage {storage.redacted_url} holds no study of gloss-tune that could move; 'gloss-tune studies list' "
            "shows what it holds"
        )
    others = {study.study_name for study in storage.get_all_studies()} - {study.name for study in ours}
    if others:
        logger.info("Left where they are, as not gloss-tune's: %s.", ", ".join(sorted(others)))
    return storage, found


def _check_idle(session: Any, study: OpenStudy, force: bool) -> int:
    """Keep a study's writers out, and refuse it if it is at work; returns how many of its trials run."""
    if keep_writers_out(session, study.study_id) != study.name or read_attribute(
        session, study.study_id, MOVED
    ):
        raise GlossTuneError(
            f"Study {study.name!r} was moved, renamed or deleted meanwhile; look where it is now"
        )
    workers = [w for w in present_workers(session, study.study_id, study.spec.lease) if not w.is_gone]
    _, running = count_trials(session, study.study_id)
    if (workers or running) and not force:
        names = ", ".join(f"{worker.host} (pid {worker.pid})" for worker in workers[:5])
        found = [f"{count(len(workers), 'worker')} at work on it, {names}"] if workers else []
        found += [f"{count(running, 'trial')} running"] if running else []
        raise InputError(
            f"Study {study.name!r} cannot be moved with {' and '.join(found)}. Stop the workers ('gloss-tune stop "
            f"--study {study.name}'; 'gloss-tune reap' for trials whose workers are lost), or give --force: what they "
            "have begun waits in the target, and they end"
        )
    return running


def _carry(source: Any, study: OpenStudy, target: Any, shown: str) -> int:
    there = study_keys(target).get(study.name)
    if there is None:
        return carry_study(source, study.study_id, target, _STAY, requeue=True)
    same = read_attribute(target, there, IDENTIFIER) == read_attribute(source, study.study_id, IDENTIFIER)
    if same and read_attribute(target, there, MOVED):
        logger.info("Study %s comes back, and replaces what its move left there.", study.name)
        delete_rows(target, there)
        return carry_study(source, study.study_id, target, _STAY, requeue=True)
    if same and is_same_study(source, study.study_id, target, there, _STAY):
        logger.info("Study %s is there already, the same to the last value.", study.name)
        return count_trials(target, there)[0]
    raise InputError(
        f"Storage {shown} has another study {study.name!r}; rename one of the two ('gloss-tune studies rename "
        f"{study.name} NEW'), or delete that one"
    )


def _leave(session: Any, study_id: int, target: str, delete: bool) -> None:
    if delete:
        delete_rows(session, study_id)
        return
    marks = {MOVED: {"to": target, "at": created_now()}, STEERING: Steering.stopped.value}
    set_study_attributes(session, study_id, marks)
