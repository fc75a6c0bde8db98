"""A study run to its end on this machine: by one worker in this process, or by a supervised group.

This is the one way in which commands and Python have trials run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gloss_tune.errors import StudyStoppedError, WorkLeftError
from gloss_tune.limits import check_addresses_for_training, ensure_files
from gloss_tune.logging import logger
from gloss_tune.wording import count

if TYPE_CHECKING:
    from gloss_tune.launch.density import Density
    from gloss_tune.signals import StopFlag
    from gloss_tune.spec.spec import StudySpec
    from gloss_tune.study.study import OpenStudy
    from gloss_tune.workers.options import WorkerOptions

# open in the launching process: connections, pipes and sentinels, with room for what comes and goes
_FILES, _FILES_A_WORKER = 64, 6
_MOST_WORKERS = 32


@dataclass(frozen=True)
class Group:
    """The workers of one machine.

    Args:
        devices: of each worker.
        density: chooses the workers, instead of ``devices``.
    """

    devices: tuple[str, ...]
    density: Density | None = None


def choose_workers(
    device: str = "auto",
    workers: int | None = None,
    per_device: int | str | None = None,
    *,
    rehearsal: bool = False,
    threads: int | None = None,
) -> Group:
    """Who is to work: so many, on these devices.

    Args:
        device: ``auto`` for all CUDA devices or else the CPU, or names with commas between.
        workers: how many in all; None for one on each device.
        per_device: how many on each device instead, ``auto`` to measure.
        rehearsal: whether the study trains nothing.
        threads: of each worker.

    Raises:
        InputError: for a device that is none, or two counts that exclude each other.
    """
    from gloss_tune.launch.density import Density, parse_per_device
    from gloss_tune.launch.devices import spread

    each = parse_per_device(per_device, workers)
    if each == "auto":
        devices = spread(device, None, rehearsal)
        return Group(tuple(devices), Density(devices, rehearsal, threads))
    return Group(tuple(spread(device, workers, rehearsal, per_device=each or 1)))


def work_to_end(
    opened: OpenStudy,
    storage: str,
    options: WorkerOptions,
    group: Group,
    stop: StopFlag,
    *,
    supervised: bool = False,
) -> int:
    """Run a study to its end; with nothing left to run, do nothing.

    Args:
        opened: the study.
        storage: its database, as workers shall open it.
        options: of each worker; their devices are the group's.
        group: the workers. A single one works in this process: torch is then imported once.
        stop: set by signals.
        supervised: a single worker gets a process of its own too, and is started again if it dies.

    Returns:
        The exit code: 0, or the one that tells why the workers left before the end.

    Raises:
        InputError: a limit of this process leaves a training no room.
    """
    from gloss_tune.launch.starter import Starter
    from gloss_tune.launch.supervisor import supervise

    if not opened.spec.rehearse:
        check_addresses_for_training()
    if not supervised and len(group.devices) == 1 and group.density is None:
        return _work_here(opened, replace(options, device=group.devices[0]), stop)
    most = len(group.devices) if group.density is None else _MOST_WORKERS
    ensure_files(_FILES + _FILES_A_WORKER * most)
    starter = Starter(storage, opened.spec.rehearse, lambda: stop.begins_nothing)
    return supervise(opened, storage, starter, group.devices, options, stop, group.density)


def finish_study(
    opened: OpenStudy, storage: str, options: WorkerOptions, group: Group, stop: StopFlag
) -> None:
    """:func:`work_to_end`, for those who need the finished study.

    Raises:
        WorkLeftError: the workers left before the end, as a signal or the clock asked.
        StudyStoppedError: a person has stopped the study.
    """
    from gloss_tune.queue.steering import Steering, how_to_resume, read_steering
    from gloss_tune.study.status import trial_counts

    code = work_to_end(opened, storage, options, group, stop)
    if code:
        raise WorkLeftError(opened.name, code)
    stopped = read_steering(opened.storage, opened.study_id) is Steering.stopped
    if stopped and (left := trial_counts(opened)["waiting"]):
        raise StudyStoppedError(
            f"Study {opened.name!r} is stopped with {count(left, 'trial')} waiting: there is no result yet; "
            f"{how_to_resume(opened.name)}"
        )


def run_study(
    spec: StudySpec,
    storage: str,
    name: str | None,
    options: WorkerOptions,
    group: Group,
    stop: StopFlag,
    *,
    data_dir: Path | None = None,
) -> OpenStudy:
    """Make the study or find it as it was made before, and run it to its end.

    Args:
        spec: what to search.
        storage: the database.
        name: the study's name; by default made of data set, encoder and loss.
        options: of each worker.
        group: the workers.
        stop: set by signals.
        data_dir: folder of ``NAME/{train,val,test}.csv``.

    Raises:
        WorkLeftError: the workers left before the end.
    """
    from gloss_tune.study.create import create

    opened = create(spec, storage, name, data_dir=data_dir).study
    finish_study(opened, storage, options, group, stop)
    return opened


def _work_here(opened: OpenStudy, options: WorkerOptions, stop: StopFlag) -> int:
    from gloss_tune.launch.watch import say_progress
    from gloss_tune.study.status import trial_counts
    from gloss_tune.workers.worker import work

    worked = work(opened, options, stop, lambda: say_progress(opened, trial_counts(opened)))
    logger.info("Study %s: %s run here; %s.", opened.name, count(worked.trials, "trial"), worked.why)
    return worked.exit_code
