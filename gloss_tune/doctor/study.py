"""What the storage says of the study: its tables, versions and workers, and the trials that nobody works on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from gloss_tune.doctor.checklist import Finding
from gloss_tune.doctor.storage import Place
from gloss_tune.queue.heartbeats import WorkerEntry, gone_workers, live_workers
from gloss_tune.queue.recovery import silent_trials
from gloss_tune.storage.connect import open_storage
from gloss_tune.study.status import finished_of, trial_counts, why_none_begins
from gloss_tune.study.study import OpenStudy, all_studies, open_study
from gloss_tune.study.versions import current_versions
from gloss_tune.wording import count, size
from gloss_tune.workers.artifacts.removal import left_files, ownerless


def check_schema(url: str, place: Place) -> Finding[bool]:
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
    held = count(len(studies), "study", "studies")
    return Finding(f"Optuna's tables, of the version used here; {held}", value=ours)


def check_study(url: str, name: str | None, holds_ours: bool) -> Finding[OpenStudy]:
    """Whether the study is there and can be read."""
    if name is None and not holds_ours:
        return Finding("there is no study yet", "skipped", "'gloss-tune create' makes one")
    opened = open_study(url, name, read_only=True)
    trials = trial_counts(opened)
    what = f"{opened.spec.loss} on {opened.dataset['name']}{' (rehearsal)' if opened.spec.rehearse else ''}"
    done = f"{finished_of(trials)} of {trials['budget']} trials finished, {trials['running']} running"
    found = f"{opened.name}: {what}; {done}"
    hindered = why_none_begins(opened) if trials["waiting"] else None
    if hindered is None:
        return Finding(found, value=opened)
    return Finding(f"{found}; no trial begins", "warning", hindered, opened)


def check_versions(opened: OpenStudy) -> Finding[None]:
    """Whether this machine computes with the packages that the study was made with."""
    here = current_versions()
    others = {name: made for name, made in opened.versions.items() if here.get(name) != made}
    if not others:
        return Finding("gloss-tune, Python and all packages are those that the study was made with")
    listed = ", ".join(f"{name} {here.get(name)} here, {made} in the study" for name, made in others.items())
    wanted = [f"{name}=={made}" for name, made in others.items() if name != "python"]
    means = f": pip install {' '.join(wanted)}" if wanted else f", use Python {others['python']}"
    return Finding(listed, "warning", f"for numbers that compare to the last digit{means}")


def check_workers(opened: OpenStudy) -> Finding[list[WorkerEntry]]:
    """Who is at work, and which running trials nobody works on; the value is the workers at work."""
    gone = gone_workers(opened.storage, opened.study_id, opened.spec.lease)
    at_work = [w for w in live_workers(opened.storage, opened.study_id, opened.spec.lease) if w not in gone]
    ended = {worker.trial for worker in gone if worker.trial is not None}
    silent = sorted(ended | set(silent_trials(opened.storage, opened.study_id, opened.spec.lease)))
    hosts = Counter(worker.host for worker in at_work)
    found = ", ".join(f"{number} on {host}" for host, number in sorted(hosts.items())) or "none at work"
    if not silent:
        return Finding(found, value=at_work)
    one = len(silent) == 1
    found += f"; {'trial' if one else 'trials'} {', '.join(map(str, silent))}: running, but "
    found += "the worker ended or fell silent" if one else "their workers ended or fell silent"
    advice = "'gloss-tune reap' requeues what lost its worker; so does any worker that runs"
    return Finding(found, "failed", advice, at_work)


def check_leftovers(folder: Path, opened: OpenStudy) -> Finding[None]:
    """Whether files lie in the artifacts folder that belong to no study of this storage."""
    found, taken = left_files(ownerless(folder, {study.files for study in all_studies(opened.storage)}))
    if not found:
        return Finding("no files of studies that are gone")
    what = f"{count(len(found), 'file or folder', 'files and folders')} of {size(taken)} in {folder}"
    advice = "'gloss-tune studies prune' lists them, and removes them with --yes; another storage's may be among them"
    return Finding(f"{what} belong to no study of this storage", "warning", advice)
