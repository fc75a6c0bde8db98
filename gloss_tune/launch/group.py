"""A study run to its end on this machine: by one worker in this process, or by a supervised group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gloss_tune.launch.density import Density

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gloss_tune.launch.density import Density
    from gloss_tune.signals import StopFlag
    from gloss_tune.study.study import OpenStudy
    from gloss_tune.workers.worker import WorkerOptions


def work_to_end(
    opened: OpenStudy,
    storage: str,
    options: WorkerOptions,
    devices: Sequence[str],
    density: Density | None,
    stop: StopFlag,
) -> int:
    """Run a study to its end on these devices; the exit code is 0, or that of a signal.

    Args:
        devices: of each worker; a single one works in this process.
        density: chooses the workers, instead of ``devices``.
    """
    from gloss_tune.launch.starter import Starter
    from gloss_tune.launch.supervisor import supervise

    if len(devices) == 1 and density is None:  # nothing to share: torch is imported once, by this process
        return work_here(opened, replace(options, device=devices[0]), stop)
    starter = Starter(storage, opened.spec.rehearse, lambda: stop.signum is not None)
    return supervise(opened, storage, starter, devices, options, stop, density)


def work_here(opened: OpenStudy, options: WorkerOptions, stop: StopFlag) -> int:
    """Run the study to its end in this process; the exit code is 0, or that of a signal."""
    from gloss_tune.launch.watch import say_progress
    from gloss_tune.study.status import trial_counts
    from gloss_tune.workers.worker import work

    work(opened, options, stop, lambda: say_progress(opened, trial_counts(opened)))
    return stop.exit_code


def group(
    device: str,
    workers: int | None,
    per_device: int | Literal["auto"] | None,
    rehearsal: bool,
    threads: int | None,
) -> tuple[list[str], Density | None]:
    """The device of each worker, and what chooses them where that is to be measured.

    Args:
        device: as given.
        workers: how many in all, as given.
        per_device: how many on each device, ``auto`` to measure.
        rehearsal: whether the study trains nothing.
        threads: of each worker.
    """
    from gloss_tune.launch.density import Density
    from gloss_tune.launch.devices import spread

    if per_device == "auto":
        devices = spread(device, None, rehearsal)
        return devices, Density(devices, rehearsal, threads)
    return spread(device, workers, rehearsal, per_device=per_device or 1), None
