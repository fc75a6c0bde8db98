"""Loss, gradient and embeddings must stay finite; what is said where they do not."""

from __future__ import annotations

import math

from gloss_tune.errors import NonFiniteLossError
from gloss_tune.finetune.config import FinetuneConfig
from gloss_tune.finetune.totals import StepTotals

_BLAMED = (
    "learning_rate",
    "head_learning_rate",
    "temperature",
    "mask_ratio",
    "lpa_iterations",
    "gloss_weight",
    "batch_size",
)


def check_finite(totals: StepTotals, config: FinetuneConfig, epoch: int, steps: int) -> None:
    """Refuse a step that broke; waits for the device once.

    Args:
        totals: of the epoch so far.
        config: whose hyperparameters the message names.
        epoch: its number, from 1.
        steps: of the whole epoch.

    Raises:
        NonFiniteLossError: with the first broken step's values.
    """
    broken = totals.first_broken()
    if broken is None:
        return
    step, values = broken
    got = ", ".join(f"{name} {value:g}" for name, value in values.items())
    raise NonFiniteLossError(
        f"Loss and gradient must stay finite, got {got} in epoch {epoch}, step {step} of {steps} "
        f"({_blamed(config)}); lower learning_rate, or raise temperature"
    )


def check_embeddings_finite(validation_loss: float, config: FinetuneConfig, epoch: int) -> None:
    """Refuse embeddings that gave no validation loss.

    Raises:
        NonFiniteLossError: ``validation_loss`` is NaN.
    """
    if math.isnan(validation_loss):
        raise NonFiniteLossError(
            f"Embeddings must stay finite, got NaN or infinity in validation after epoch {epoch} "
            f"({_blamed(config)}); lower learning_rate"
        )


def _blamed(config: FinetuneConfig) -> str:
    return ", ".join(f"{name}={getattr(config, name)}" for name in _BLAMED)
