"""Everything that a study on this machine depends on, checked one by one without claiming or writing anything."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from gloss_tune.cores import CoreShare
from gloss_tune.doctor import machine, smoke, storage
from gloss_tune.doctor import study as study_checks
from gloss_tune.doctor.checklist import Checklist, Finding
from gloss_tune.processes import this_process
from gloss_tune.storage.url import parse_storage_url
from gloss_tune.study.precision import StudyPrecision, study_precision
from gloss_tune.study.status import trial_counts
from gloss_tune.study.study import OpenStudy
from gloss_tune.wording import count, duration, size
from gloss_tune.workers.options import WorkerOptions

_PRINTED = ("name", "state", "found", "advice")
_ADVICE = {
    "storage": "check the storage's URL and the server or the disk",
    "schema": "name another storage, or restore this one from a copy",
    "clock": "compare the machine's time",
    "study": "use the release of gloss-tune that made the study",
    "versions": "reinstall gloss-tune",
    "workers": "use one release of gloss-tune for all workers",
    "data": "check the files of the data set",
    "tokens": "name a folder by GLOSS_TUNE_CACHE",
    "encoder": "check the encoder's files, or install it anew",
    "device": "check the driver and the installation of torch, or choose --device cpu",
    "cores": "give --threads",
    "artifacts": "name another folder by --artifacts",
    "leftovers": "look at the folder yourself",
    "disk": "name another folder by --artifacts",
    "trial": "run 'gloss-tune worker --max-trials 1' to see the whole error",
}


@dataclass(frozen=True)
class Estimate:
    """How long a study will take.

    Args:
        seconds_per_trial: for a trial that is neither pruned nor ends early.
        seconds_to_go: for all that is left of the study.
        workers: at work now, or 1 where none is.
    """

    seconds_per_trial: float
    seconds_to_go: float
    workers: int


@dataclass(frozen=True)
class Diagnosis:
    """All checks, in the order in which they were made."""

    checks: tuple[Finding[Any], ...]
    estimate: Estimate | None

    @property
    def ok(self) -> bool:
        """Whether nothing failed; warnings do not count."""
        return all(check.state != "failed" for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, fit for JSON."""
        return {
            "ok": self.ok,
            "checks": [{key: getattr(check, key) for key in _PRINTED} for check in self.checks],
            "estimate": None if self.estimate is None else asdict(self.estimate),
        }


def examine(
    url: str,
    name: str | None = None,
    options: WorkerOptions | None = None,
    on_check: Callable[[Finding[Any]], None] = lambda check: None,
) -> Diagnosis:
    """Make all checks.

    Nothing is written to the storage and nothing downloaded, but the tokens that the trial step makes stay in the
    cache, where workers find them.

    Args:
        url: the storage.
        name: the study; may be None where the storage holds one, or none yet.
        options: what a worker here would be started with.
        on_check: called with each check as soon as it is made.

    Raises:
        StorageError: the URL is malformed. Whatever else is wrong becomes a check that failed.
    """
    parse_storage_url(url)
    listed = Checklist(on_check, _ADVICE)
    place = listed.look("storage", lambda: storage.check_storage(url))
    ours = listed.look("schema", partial(study_checks.check_schema, url), place)
    listed.look("clock", storage.check_clock, place)
    study = listed.look("study", partial(study_checks.check_study, url, name), ours)
    try:
        trial = _examine_machine(study, options or WorkerOptions(), listed)
    finally:
        if study.value is not None:
            study.value.storage.remove_session()
            study.value.storage.engine.dispose()
    return Diagnosis(tuple(listed.checks), trial.value)


def _examine_machine(
    study: Finding[OpenStudy], options: WorkerOptions, listed: Checklist
) -> Finding[Estimate]:
    look, host, opened = listed.look, socket.gethostname(), study.value
    look("versions", study_checks.check_versions, study)
    at_work = look("workers", study_checks.check_workers, study).value or []
    beside = [worker for worker in at_work if worker.host == host]
    here, pids = len(beside), [worker.pid for worker in beside if worker.machine == this_process().machine]

    rehearsal = opened is not None and opened.spec.rehearse
    real = (Finding[Any]("not needed in a rehearsal", "skipped"),) if rehearsal else ()
    data = look("data", lambda opened: machine.check_data(opened, options.data_dir), *real, study)
    look("tokens", machine.check_tokens, data)
    encoder = look("encoder", lambda opened: machine.check_encoder(opened, data.value), *real, study)
    device = look("device", lambda: machine.check_device(options.device), *real)
    look("cores", lambda: machine.check_cores(pids))

    folder, name = options.artifacts.absolute(), None if opened is None else opened.name
    artifacts = look("artifacts", lambda: machine.check_artifacts(folder, name, at_work, host))
    look("leftovers", partial(study_checks.check_leftovers, folder), study)
    disk = partial(machine.check_disk, max(1, here))
    if rehearsal:
        look("disk", disk, artifacts, study)
        return look("trial", partial(_rehearsed, len(at_work)), study)
    look("disk", disk, artifacts, study, encoder)
    return look(
        "trial", partial(_tried, options.threads, len(at_work), here, pids), study, data, encoder, device
    )


def _rehearsed(at_work: int, opened: OpenStudy) -> Finding[Estimate]:
    seconds = opened.spec.rehearse_seconds
    return Finding(f"simulated, {seconds:g} s each", value=_estimate(opened, seconds, at_work))


def _tried(
    threads: int | None,
    at_work: int,
    here: int,
    pids: Sequence[int],
    opened: OpenStudy,
    data: Any,
    encoder: machine.LoadedEncoder,
    device: str,
) -> Finding[Estimate]:
    """Some steps, as a worker would make them."""
    import torch

    before = torch.get_num_threads()
    try:
        used = CoreShare(device, threads).share_cores(max(1, here), pids)
        settled = study_precision(opened)
        precision = None if settled is None else settled.precision
        measured = smoke.measure(opened.spec, data, encoder.resolved, device, precision)
    finally:
        torch.set_num_threads(before)
    beside = f", beside {count(here, 'running worker')}" if here else ""
    return Finding(
        f"a step of {measured.batch_size} documents takes {duration(measured.step_seconds)} on {device} with "
        f"{count(used, 'thread')}{beside} in {precision or measured.precision} ({_chosen(measured, settled)}); at most "
        f"{size(measured.memory)} of memory were in use",
        value=_estimate(opened, measured.trial_seconds, at_work),
    )


def _chosen(measured: smoke.Measured, settled: StudyPrecision | None) -> str:
    """Why a trial computes in its precision here."""
    if settled is None or settled.precision == measured.precision:
        return measured.why
    return (
        f"as the study's first worker chose on {settled.device}, {settled.hardware}; this machine alone would take "
        f"{measured.precision}: {measured.why}"
    )


def _estimate(opened: OpenStudy, seconds: float, at_work: int) -> Estimate:
    trials, workers = trial_counts(opened), max(1, at_work)
    rounds = math.ceil((trials["running"] + trials["waiting"]) / workers)
    return Estimate(round(seconds, 3), round(seconds * rounds, 3), workers)
