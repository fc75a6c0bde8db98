"""One fine-tune of a sentence encoder, real (:mod:`~gloss_tune.finetune.loop`) or simulated.

The names here import no torch; ``Finetune`` lives in :mod:`gloss_tune.finetune.loop`, which does.
"""

from __future__ import annotations

from gloss_tune.errors import CheckpointError
from gloss_tune.finetune.checkpoint import load_checkpoint, save_checkpoint
from gloss_tune.finetune.config import EpochReport, FinetuneConfig
from gloss_tune.finetune.rehearsal import Rehearsal
from gloss_tune.finetune.run import FinetuneRun

__all__ = [
    "CheckpointError",
    "EpochReport",
    "FinetuneConfig",
    "FinetuneRun",
    "Rehearsal",
    "load_checkpoint",
    "save_checkpoint",
]
