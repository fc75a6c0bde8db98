"""The studies of a storage, each in a line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gloss_tune.storage.connect import open_storage
from gloss_tune.study.results import best_of, read_history
from gloss_tune.study.status import count_states, study_state
from gloss_tune.study.study import OpenStudy, all_studies
from gloss_tune.workers.artifacts.trial_files import bytes_of


def list_studies(url: str, artifacts: Path | None = None) -> list[dict[str, Any]]:
    """The studies of a storage, the newest last; a confirmation counts as part of its study.

    Args:
        url: the storage.
        artifacts: folder of their files, to say how much they keep there.

    Returns:
        Plain values, fit for JSON: ``name``, ``state`` (waiting, running, finished), ``trials`` (as in ``status``),
        ``best`` (its value, None without one), ``metric``, ``dataset``, ``loss``, ``model``, ``rehearsal``, ``created``
        (ISO 8601 in UTC; None if nothing tells), ``confirmation`` (its name or None), ``moved`` (where to, of
        what a move left behind), ``bytes`` on disk.
    """
    storage = open_storage(url, read_only=True)
    studies = all_studies(storage)
    rows = [
        _row(study, confirmation_in(studies, study), artifacts)
        for study in studies
        if not _is_part(study, studies)
    ]
    return sorted(rows, key=lambda row: (row["created"] or "", row["name"]))


def confirmation_in(studies: Sequence[OpenStudy], study: OpenStudy) -> OpenStudy | None:
    """The confirmation of a study among others of its storage; None if it has none."""
    found = (other for other in studies if other.confirms and other.confirms["files"] == study.files)
    return next(found, None)


def _is_part(study: OpenStudy, studies: Sequence[OpenStudy]) -> bool:
    """Whether it is the confirmation of a study that is there, too."""
    return study.confirms is not None and any(other.files == study.confirms["files"] for other in studies)


def _row(study: OpenStudy, confirmation: OpenStudy | None, artifacts: Path | None) -> dict[str, Any]:
    history = read_history(study)
    trials = count_states(history, study.spec.trials)
    best = best_of(history)
    own = [study] if confirmation is None else [study, confirmation]
    return {
        "name": study.name,
        "state": study_state(trials),
        "trials": trials,
        "best": None if best is None else best.value,
        "metric": study.spec.metric,
        "dataset": study.dataset["name"],
        "loss": study.spec.loss,
        "model": study.spec.model,
        "rehearsal": study.spec.rehearse,
        "created": _created(study),
        "confirmation": None if confirmation is None else confirmation.name,
        "moved": None if study.moved is None else study.moved["to"],
        "bytes": 0 if artifacts is None else sum(bytes_of(artifacts, one.files) for one in own),
    }


def _created(study: OpenStudy) -> str | None:
    """When it was made; of studies that older releases made, when their first trial began."""
    if study.created is not None:
        return study.created
    starts = [t.datetime_start for t in study.storage.get_all_trials(study.study_id, deepcopy=False)]
    known = [start for start in starts if start is not None]
    return min(known).astimezone(timezone.utc).isoformat(timespec="seconds") if known else None


def age(created: str | None) -> float | None:
    """Seconds since then."""
    if created is None:
        return None
    return max(0.0, (datetime.now(timezone.utc) - datetime.fromisoformat(created)).total_seconds())
