"""What becomes of workers that end: which are started again, and when the whole has ended. Knows nothing of Ray."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from gloss_tune.errors import ExitCode
from gloss_tune.logging import logger
from gloss_tune.signals import StopFlag
from gloss_tune.wording import count

_MOST_RESTARTS = 100
_POLL_SECONDS = 0.5
_AWAY_SECONDS = 60.0
_LEAVES_EARLY = "--leave-when-empty"


class Tasks(Protocol):
    """The engine's side: one task for each worker that runs."""

    def start(self, worker: int, command: Sequence[str]) -> None:
        """Have a worker started wherever there is room for it."""

    def ended(self, seconds: float) -> dict[int, int | None]:
        """The exit codes of workers that have ended since, waited for; None where the engine has lost one."""

    def cancel(self) -> None:
        """Tell all workers to stop, and wait for their ends."""


class Next(Enum):
    """What follows a worker's end."""

    done = "done"
    again = "again"  # at once
    later = "later"
    gives_up = "gives up"  # this worker; the others go on
    all_end = "all end"


def what_follows(code: int | None, restarts: int) -> Next:
    """What follows a worker's end.

    Args:
        code: its exit code, negative for a signal that killed it; None if it was lost with its node or Ray's process.
        restarts: how often it was started again after an end that it did not announce.
    """
    if code in (ExitCode.WRONG_INPUT, ExitCode.STUDY_STOPPED):
        return Next.all_end  # every worker would meet it again
    if code == ExitCode.DONE:
        return Next.done
    if code == ExitCode.WORK_LEFT:
        return Next.again
    lost = code is None or code < 0 or code > ExitCode.SIGNALLED
    if restarts < _MOST_RESTARTS and (lost or code == ExitCode.STORAGE_AWAY):
        return Next.again if lost else Next.later
    return Next.gives_up


def look_after(
    tasks: Tasks, command: Sequence[str], workers: int, stop: StopFlag, away_seconds: float = _AWAY_SECONDS
) -> int:
    """Keep workers running until all have ended.

    Args:
        tasks: the engine's side.
        command: of each worker.
        workers: how many.
        stop: set by signals.
        away_seconds: pause before a worker whose storage is away is started again.

    Returns:
        The exit code of the whole: 0, 2 or 3 where one such ended all, 128 + a signal's number, or else 1.
    """
    # the trial of a worker that was lost may come back only when its lease ends: one must be there then
    staying = [part for part in command if part != _LEAVES_EARLY]
    restarts: Counter[int] = Counter()
    running, later = set(range(1, workers + 1)), dict[int, float]()
    failed = []
    for worker in sorted(running):
        tasks.start(worker, command)
    while running or later:
        if stop.begins_nothing:
            logger.info("Told to stop (%s): the workers hand their trials back.", stop.name)
            tasks.cancel()
            return stop.exit_code or ExitCode.WORK_LEFT
        for worker in [worker for worker, due in later.items() if time.monotonic() >= due]:
            del later[worker]
            running.add(worker)
            tasks.start(worker, staying)
        for worker, code in tasks.ended(_POLL_SECONDS).items():
            running.discard(worker)
            follows = what_follows(code, restarts[worker])
            logger.info("Worker %d %s%s.", worker, _told(code), _SAID[follows])
            if follows is Next.all_end:
                assert code is not None
                tasks.cancel()
                return code
            if follows is Next.gives_up:
                failed.append(worker)
            elif follows is not Next.done:
                announced = code == ExitCode.WORK_LEFT
                restarts[worker] += not announced
                if follows is Next.later:
                    later[worker] = time.monotonic() + away_seconds
                else:
                    running.add(worker)
                    tasks.start(worker, command if announced else staying)
    if failed:
        logger.error("%s of %d failed; see above what they said.", count(len(failed), "worker"), workers)
    return ExitCode.FAILED if failed else ExitCode.DONE


_SAID = {
    Next.done: "",
    Next.again: "; it is started again",
    Next.later: "; it is started again in a while",
    Next.gives_up: "; it is not started again",
    Next.all_end: "; so would the others, and all end",
}


def _told(code: int | None) -> str:
    if code is None:
        return "was lost with its node or Ray's process"
    if code < 0:
        return f"was killed by signal {-code}"
    return f"ended with exit code {code}"
