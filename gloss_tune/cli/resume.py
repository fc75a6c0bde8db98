"""``gloss-tune resume``: its workers go on."""

from __future__ import annotations

from gloss_tune.cli.options import DEFAULT_STORAGE, Force, Format, OutputFormat, Storage, Study
from gloss_tune.cli.steering import steer_study


def resume(
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    force: Force = False,
    format: OutputFormat = Format.table,
) -> None:
    """Undo 'pause' and 'stop': workers that wait go on, and workers that are started find trials again.

    Example: gloss-tune resume --study mr-gloss
    """
    steer_study(storage, study, None, format)
