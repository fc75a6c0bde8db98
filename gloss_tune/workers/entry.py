"""What a worker's process does from the study's name to the last words, whether a person or ``launch`` started it."""

from __future__ import annotations

import time
from collections.abc import Callable

from gloss_tune.errors import ExitCode, StorageAwayError
from gloss_tune.limits import check_addresses_for_training
from gloss_tune.logging import logger, redact
from gloss_tune.signals import StopFlag
from gloss_tune.storage.retry import PATIENCE_SECONDS
from gloss_tune.storage.sqlstate import outage
from gloss_tune.study.study import OpenStudy, open_study
from gloss_tune.wording import count
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.worker import work

_PAUSE_SECONDS = 1.0


def serve(
    storage: str,
    study: str | None,
    options: WorkerOptions,
    stop: StopFlag,
    on_trial: Callable[[], None] | None = None,
    patience: float = PATIENCE_SECONDS,
) -> int:
    """Open the study and work on it.

    Args:
        storage: its database.
        study: its name; may be None where the storage holds one study.
        on_trial: called after each trial.
        patience: seconds to wait for a storage that is away when the worker starts.

    Returns:
        The exit code: 0, 75 if the worker left on request with work remaining, or 128 + the signal that stopped it.

    Raises:
        StorageAwayError: the storage stayed away.
        GlossTuneError: as :func:`open_study` and :func:`work` do.
    """
    opened = _open_when_it_answers(storage, study, stop, patience)
    if opened is None:
        logger.info("Worker leaves before it has begun: it was told to.")
        return stop.exit_code or ExitCode.WORK_LEFT
    if not opened.spec.rehearse:
        check_addresses_for_training()
    worked = work(opened, options, stop, on_trial)
    logger.info("Worker leaves after %s: %s.", count(worked.trials, "trial"), worked.why)
    return worked.exit_code


def _open_when_it_answers(
    storage: str, study: str | None, stop: StopFlag, patience: float
) -> OpenStudy | None:
    """The study; None if a signal came first. Engines start workers in no order, and before a database too."""
    end, said = time.monotonic() + patience, False
    while not stop.begins_nothing:
        try:
            return open_study(storage, study)
        except Exception as error:
            reason = str(error) if isinstance(error, StorageAwayError) else outage(error)
            if reason is None or time.monotonic() >= end:
                raise
            if not said:
                logger.warning("%s. Waiting for it, for %.0f s at most.", redact(reason), patience)
                said = True
        pause_end = time.monotonic() + _PAUSE_SECONDS
        while time.monotonic() < pause_end and not stop.begins_nothing:
            time.sleep(0.05)
    return None
