"""How one worker works; nothing here changes what a study is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class WorkerOptions:
    """How one worker works.

    Args:
        max_trials: leave after this many trials, None for no limit.
        timeout: claim no trial after this many seconds; one that runs is finished.
        device: ``auto``, ``cpu``, ``cuda:0`` …
        threads: CPU threads of torch, None to share the cores with the study's other workers on this machine.
        data_dir: folder of ``NAME/{train,val,test}.csv``.
        artifacts: folder for what a trial leaves beside its numbers.
        grace: seconds from a first signal to the end of this process: in them the worker finishes the epoch, to
            keep it as a checkpoint, if that is possible.
        track: trackers that are told of every trial, as :func:`gloss_tune.workers.tracking.check_trackers` gives them.
        leave_when_empty: leave as soon as no trial waits, without staying in case another worker is lost.
        until: leave before this time, in seconds since the epoch; a trial that runs then waits again.
    """

    max_trials: int | None = None
    timeout: float | None = None
    device: str = "auto"
    threads: int | None = None
    data_dir: Path | None = None
    artifacts: Path = Path("gloss-tune-artifacts")
    grace: float = 5.0
    track: tuple[str, ...] = ()
    leave_when_empty: bool = False
    until: float | None = None


def worker_options(
    storage: str,
    artifacts: Path | None = None,
    *,
    track: Sequence[str] | None = None,
    max_trials: int | None = None,
    timeout: float | None = None,
    device: str = "auto",
    threads: int | None = None,
    data_dir: Path | None = None,
    grace: float = 5.0,
    leave_when_empty: bool = False,
    until: str | float | None = None,
) -> WorkerOptions:
    """:class:`WorkerOptions` with the folder for a storage's files filled in, and the trackers checked.

    Args:
        storage: the study's database.
        artifacts: the folder as chosen; None for the environment's, or the one beside the storage.
        track: names of trackers; each may hold several with commas between.
        until: as :func:`gloss_tune.workers.deadline.parse_until` reads it.

    Raises:
        InputError: a tracker is unknown or not installed, or ``until`` is no time to come.
    """
    from gloss_tune.workers.artifacts.store import artifacts_folder
    from gloss_tune.workers.deadline import parse_until
    from gloss_tune.workers.tracking import check_trackers

    return WorkerOptions(
        max_trials=max_trials,
        timeout=timeout,
        device=device,
        threads=threads,
        data_dir=data_dir,
        artifacts=artifacts_folder(storage, artifacts),
        grace=grace,
        track=check_trackers(track or []),
        leave_when_empty=leave_when_empty,
        until=None if until is None else parse_until(until),
    )
