"""What the storage says of the study: its tables, versions and workers, and the trials that nobody works on."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy
from optuna.storages._rdb import models
from optuna.trial import TrialState

from gloss_tune.study.opened import OpenStudy, current_versions, open_study
from gloss_tune.study.queue import database_now
from gloss_tune.study.reading import trial_counts
from gloss_tune.study.roster import WorkerEntry, present
from gloss_tune.study.storage import open_storage
from gloss_tune.workers.doctor.checklist import Finding
from gloss_tune.workers.doctor.storage import Place


def look_at_schema(url: str, place: Place) -> Finding[bool]:
    """Whether the tables are Optuna's, of a version that is known here; the value is whether a study is ours."""
    if not place.has_tables:
        return Finding("no tables yet; 'gloss-tune create' makes them", value=False)
    storage = open_storage(url, read_only=True)
    try:
        studies = storage.get_all_studies()
    finally:
        storage.remove_session()
        storage.engine.dispose()
    ours = any(key.startswith("gloss_tune:") for study in studies for key in study.user_attrs)
    count = f"{len(studies)} stud{'y' if len(studies) == 1 else 'ies'}"
    return Finding(f"Optuna's tables, of the version used here; {count}", value=ours)


def look_at_study(url: str, name: str | None, holds_ours: bool) -> Finding[OpenStudy]:
    """Whether the study is there and can be read."""
    if name is None and not holds_ours:
        return Finding("there is no study yet", "skipped", "'gloss-tune create' makes one")
    opened = open_study(url, name, read_only=True)
    trials = trial_counts(opened)
    ended = trials["complete"] + trials["pruned"] + trials["failed"]
    what = f"{opened.spec.loss} on {opened.dataset['name']}{' (rehearsal)' if opened.spec.rehearse else ''}"
    found = (
        f"{opened.name}: {what}; {ended} of {trials['budget']} trials finished, {trials['running']} running"
    )
    return Finding(found, value=opened)


def look_at_versions(opened: OpenStudy) -> Finding[None]:
    """Whether this machine computes with the packages that the study was made with."""
    here = current_versions()
    others = {
        name: (here.get(name), made) for name, made in opened.versions.items() if here.get(name) != made
    }
    if not others:
        return Finding("gloss-tune, Python and all packages are those that the study was made with")
    listed = ", ".join(f"{name} {mine} here, {made} in the study" for name, (mine, made) in others.items())
    wanted = " ".join(f"{name}=={made}" for name, (_, made) in others.items() if name != "python")
    advice = (
        f"for numbers that compare to the last digit: pip install {wanted}"
        if wanted
        else (f"for numbers that compare to the last digit, use Python {others['python'][1]}")
    )
    return Finding(listed, "warning", advice)


def look_at_workers(opened: OpenStudy) -> Finding[list[WorkerEntry]]:
    """Who is at work, and which running trials nobody works on; the value is the workers at work."""
    listed = present(opened.storage, opened.study_id, opened.spec.lease)
    at_work = [worker for worker in listed if not worker.is_gone]
    ended = {worker.trial for worker in listed if worker.is_gone and worker.trial is not None}
    hosts = Counter(worker.host for worker in at_work)
    found = ", ".join(f"{count} on {host}" for host, count in sorted(hosts.items())) or "none at work"
    silent = sorted(ended | set(_silent_trials(opened)))
    if silent:
        numbers = ", ".join(map(str, silent))
        plural = "s" if len(silent) > 1 else ""
        return Finding(
            f"{found}; trial{plural} {numbers}: running, but the worker{plural} ended or fell silent",
            "failed",
            "'gloss-tune reap' requeues what lost its worker; so does any worker that runs",
            at_work,
        )
    return Finding(found, value=at_work)


def _silent_trials(opened: OpenStudy) -> list[int]:
    """Numbers of the running trials whose lease has lapsed, by the database's clock."""
    trial: Any = models.TrialModel
    heartbeat = models.TrialHeartbeatModel
    with opened.storage.transaction() as session:
        now: datetime = database_now(session)
        rows = session.scalars(
            sqlalchemy.select(trial.number)
            .join(heartbeat, heartbeat.trial_id == trial.trial_id)
            .where(
                trial.study_id == opened.study_id,
                trial.state == TrialState.RUNNING,
                heartbeat.heartbeat < now - timedelta(seconds=opened.spec.lease),
            )
        )
        return [int(number) for number in rows]
