"""Everything that a study on this machine depends on, checked one by one without claiming or writing anything."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gloss_tune.study.opened import OpenStudy, artifacts_folder
from gloss_tune.study.reading import trial_counts
from gloss_tune.study.roster import WorkerEntry
from gloss_tune.study.storage import parse_storage_url
from gloss_tune.workers.doctor import machine as machine_checks
from gloss_tune.workers.doctor import smoke
from gloss_tune.workers.doctor import storage as storage_checks
from gloss_tune.workers.doctor import study as study_checks
from gloss_tune.workers.doctor.checklist import Check, Checklist, Finding, Outcome
from gloss_tune.workers.real import RealRuns


@dataclass(frozen=True)
class DoctorOptions:
    """What a worker here would be started with.

    Args:
        device: ``auto``, ``cpu``, ``cuda:0`` …
        threads: CPU threads of torch, None to share the cores.
        data_dir: folder of ``NAME/{train,val,test}.csv``.
        artifacts: folder for checkpoints and learning curves; None for the default.
    """

    device: str = "auto"
    threads: int | None = None
    data_dir: Path | None = None
    artifacts: Path | None = None


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

    checks: tuple[Check, ...]
    estimate: Estimate | None

    @property
    def ok(self) -> bool:
        """Whether nothing failed; warnings do not count."""
        return all(check.state != "failed" for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, fit for JSON."""
        return {
            "ok": self.ok,
            "checks": [asdict(check) for check in self.checks],
            "estimate": None if self.estimate is None else asdict(self.estimate),
        }


def examine(
    url: str,
    name: str | None = None,
    options: DoctorOptions | None = None,
    on_check: Callable[[Check], None] = lambda check: None,
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
    listed = Checklist(on_check)
    chosen = options or DoctorOptions()
    place = listed.look(
        "storage",
        lambda: storage_checks.look_at_storage(url),
        "check the storage's URL and the server or the disk",
    )
    tables = listed.look(
        "schema",
        lambda: study_checks.look_at_schema(url, place.value),
        "name another storage, or restore this one from a copy",
        needs=(place,),
    )
    listed.look(
        "clock",
        lambda: storage_checks.look_at_clock(place.value),
        "compare the machine's time",
        needs=(place,),
    )
    study = listed.look(
        "study",
        lambda: study_checks.look_at_study(url, name, tables.value),
        "use the release of gloss-tune that made the study",
        needs=(tables,),
    )
    try:
        return _examine_machine(url, study, chosen, listed)
    finally:
        if study.is_usable:
            study.value.storage.remove_session()
            study.value.storage.engine.dispose()


def _examine_machine(
    url: str, study: Outcome[OpenStudy], options: DoctorOptions, listed: Checklist
) -> Diagnosis:
    listed.look(
        "versions",
        lambda: study_checks.look_at_versions(study.value),
        "reinstall gloss-tune",
        needs=(study,),
    )
    workers = listed.look(
        "workers",
        lambda: study_checks.look_at_workers(study.value),
        "use one release of gloss-tune for all workers",
        needs=(study,),
    )
    at_work = workers.value if workers.is_usable else []
    host = socket.gethostname()
    here = sum(worker.host == host for worker in at_work)
    rehearsal = study.is_usable and study.value.spec.rehearse

    def unless_rehearsal(look: Callable[[], Finding[Any]]) -> Callable[[], Finding[Any]]:
        return (lambda: Finding("not needed in a rehearsal", "skipped")) if rehearsal else look

    data = listed.look(
        "data",
        unless_rehearsal(lambda: machine_checks.look_at_data(study.value, options.data_dir)),
        "check the files of the data set",
        needs=(study,),
    )
    listed.look(
        "tokens",
        lambda: machine_checks.look_at_tokens(data.value),
        "name a folder by GLOSS_TUNE_CACHE",
        (data,),
    )
    encoder = listed.look(
        "encoder",
        unless_rehearsal(lambda: machine_checks.look_at_encoder(study.value)),
        "check the encoder's files, or install it anew",
        needs=(study,),
    )
    device = listed.look(
        "device",
        unless_rehearsal(lambda: machine_checks.look_at_device(options.device)),
        "check the driver and the installation of torch, or choose --device cpu",
    )
    listed.look("cores", lambda: machine_checks.look_at_cores(here), "give --threads")
    folder = artifacts_folder(url, options.artifacts).absolute()
    named = study.value.name if study.is_usable else None
    artifacts = listed.look(
        "artifacts",
        lambda: machine_checks.look_at_artifacts(folder, named, at_work, host),
        "name another folder by --artifacts",
    )
    listed.look(
        "disk",
        lambda: machine_checks.look_at_disk(
            folder, 0 if rehearsal else encoder.value[1], max(1, here), study.value.spec.keep
        ),
        "name another folder by --artifacts",
        needs=(artifacts, study) if rehearsal else (artifacts, study, encoder),
    )
    trial = listed.look(
        "trial",
        lambda: (
            _rehearsed(study.value, len(at_work))
            if rehearsal
            else _tried(study.value, data, encoder, device, options, at_work, here)
        ),
        "run 'gloss-tune worker --max-trials 1' to see the whole error",
        needs=(study,) if rehearsal else (data, encoder, device),
    )
    return Diagnosis(tuple(listed.checks), trial.value if trial.is_usable else None)


def _rehearsed(opened: OpenStudy, at_work: int) -> Finding[Estimate]:
    seconds = opened.spec.rehearse_seconds
    return Finding(f"simulated, {seconds:g} s each", value=_estimate(opened, seconds, at_work))


def _tried(
    opened: OpenStudy,
    data: Outcome[Any],
    encoder: Outcome[Any],
    device: Outcome[str],
    options: DoctorOptions,
    at_work: Sequence[WorkerEntry],
    here: int,
) -> Finding[Estimate]:
    """Some steps, as a worker would make them."""
    real = RealRuns(opened, device.value, options.threads, options.data_dir)

    def share_cores() -> int:
        real.look_at_load(max(1, here))
        return real.share_cores(max(1, here))

    measured = smoke.measure(opened.spec, data.value, encoder.value[0], device.value, share_cores)
    beside = f", beside {here} running worker{'' if here == 1 else 's'}" if here else ""
    threads = f"{measured.threads} thread{'' if measured.threads == 1 else 's'}"
    return Finding(
        f"a step of {measured.batch_size} documents takes {measured.step_seconds:.3g} s on {device.value} with "
        f"{threads}{beside}; at most {measured.memory_mb / 1024:.1f} GB of memory were in use",
        value=_estimate(opened, measured.trial_seconds, len(at_work)),
    )


def _estimate(opened: OpenStudy, seconds: float, at_work: int) -> Estimate:
    trials, workers = trial_counts(opened), max(1, at_work)
    rounds = math.ceil((trials["running"] + trials["waiting"]) / workers)
    return Estimate(round(seconds, 3), round(seconds * rounds, 3), workers)
