"""``gloss-tune pause``: its workers wait until it is resumed."""

from __future__ import annotations

from gloss_tune.cli.options import DEFAULT_STORAGE, Force, Format, OutputFormat, Storage, Study
from gloss_tune.cli.steering import steer_study


def pause(
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    force: Force = False,
    format: OutputFormat = Format.table,
) -> None:
    """Let the workers of a study, wherever they run, finish their epoch, give their trials back, and wait.

    Trials go on from their checkpoints after 'gloss-tune resume'. 'gloss-tune status' shows it. A confirmation is a
    study of its own: name NAME.confirm.
    Example: gloss-tune pause --study mr-gloss
    """
    from gloss_tune.queue.steering import Steering

    steer_study(storage, study, Steering.paused, format)
