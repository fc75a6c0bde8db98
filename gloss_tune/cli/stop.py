"""``gloss-tune stop``: its workers leave."""

from __future__ import annotations

from gloss_tune.cli.options import DEFAULT_STORAGE, Force, Format, OutputFormat, Storage, Study
from gloss_tune.cli.steering import steer_study


def stop(
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    force: Force = False,
    format: OutputFormat = Format.table,
) -> None:
    """Let the workers of a study, wherever they run, finish their epoch, give their trials back, and leave.

    They end with exit code 0, and workers started later leave at once, until 'gloss-tune resume'. A confirmation is a
    study of its own: name NAME.confirm.
    Example: gloss-tune stop --study mr-gloss
    """
    from gloss_tune.queue.steering import Steering

    steer_study(storage, study, Steering.stopped, format)
