"""What a worker's process does from the study's name to the last words, whether a person or ``launch`` started it."""

from __future__ import annotations

from collections.abc import Callable

from gloss_tune.limits import check_addresses_for_training
from gloss_tune.logging import logger
from gloss_tune.signals import StopFlag
from gloss_tune.study.study import open_study
from gloss_tune.wording import count
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.worker import work


def serve(
    storage: str,
    study: str | None,
    options: WorkerOptions,
    stop: StopFlag,
    on_trial: Callable[[], None] | None = None,
) -> int:
    """Open the study and work on it.

    Args:
        storage: its database.
        study: its name; may be None where the storage holds one study.
        on_trial: called after each trial.

    Returns:
        The exit code: 0, 75 if the worker left on request with work remaining, or 128 + the signal that stopped it.

    Raises:
        GlossTuneError: as :func:`open_study` and :func:`work` do.
    """
    opened = open_study(storage, study)
    if not opened.spec.rehearse:
        check_addresses_for_training()
    worked = work(opened, options, stop, on_trial)
    logger.info("Worker leaves after %s: %s.", count(worked.trials, "trial"), worked.why)
    return worked.exit_code
