"""A fine-tune that trains nothing: the same reports from a formula. Imports nothing heavy.

The formula is a smooth hill over the hyperparameters with its top near learning rate 1e-4, temperature 0.1,
mask ratio 0.4, 8 iterations and weight 0.7, plus seeded noise; scores rise over the epochs, and a high
learning rate rises faster and falls again, so that pruning, patience and resuming all have something to act
on.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gloss_tune.finetune.config import EpochReport, FinetuneConfig
from gloss_tune.finetune.stopping import EarlyStopping
from gloss_tune.seeding import derive_seed

_SLICE_SECONDS = 0.05
_CHANCE = 0.5
_DOCS = 1600
_TOKENS_PER_DOC = 27


class Rehearsal:
    """Simulates one fine-tune; two with the same configuration give the same reports, whatever their pace.

    Args:
        config: as for the real one; the graph's fields count for loss ``gloss`` only.
        seconds: how long a run of all ``config.epochs`` takes, at least 0; spread evenly over the epochs.
        on_step: called at least once an epoch and every 0.05 s; may raise.
    """

    def __init__(
        self, config: FinetuneConfig, *, seconds: float = 0.0, on_step: Callable[[], None] | None = None
    ) -> None:
        config.validate()
        self._config = config
        self._epoch_seconds = seconds / config.epochs
        self._on_step = on_step or (lambda: None)
        self._stopping = EarlyStopping(config.metric, config.patience)

    @property
    def best(self) -> EpochReport | None:
        """The best epoch so far."""
        return self._stopping.best

    def epochs(self) -> Iterator[EpochReport]:
        """One report per simulated epoch, until ``config.epochs`` or patience ends the run."""
        while self._stopping.epoch < self._config.epochs and not self._stopping.exhausted:
            self._wait()
            yield self._stopping.update(self._metrics(self._stopping.epoch + 1))

    def state_dict(self) -> dict[str, Any]:
        """The epoch reached and the best one; plain values."""
        return {"stopping": self._stopping.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the epoch that ``state`` was taken at."""
        self._stopping.load_state_dict(state["stopping"])

    def _wait(self) -> None:
        end = time.monotonic() + self._epoch_seconds
        self._on_step()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(_SLICE_SECONDS, left))
            self._on_step()

    def _metrics(self, epoch: int) -> dict[str, float]:
        config = self._config
        decades = math.log10(config.learning_rate / 1e-4)
        reached = 1 - math.exp(-epoch * 1.1 * 10 ** (0.35 * decades))
        # a rate above the best one overfits: its scores fall again after a few epochs
        overfit = 0.012 * max(0.0, epoch - 3.0) * 10 ** min(decades, 1.0)
        noise = random.Random(derive_seed(config.seed, "rehearsal", epoch, *self._place()))
        score = _CHANCE + (self._height() - _CHANCE) * reached - overfit
        accuracy = min(0.99, max(0.05, score + noise.gauss(0, 0.004)))
        macro_f1 = min(0.99, max(0.05, accuracy - 0.004 + noise.gauss(0, 0.002)))
        ce = -math.log(accuracy)
        part = 1.15 * ce
        weight = 0.0 if config.loss == "ce" else 1.0 if config.mode == "standalone" else config.gloss_weight
        metrics = {
            "train_loss": 0.8 * (weight * part + (1 - weight) * ce),
            "train_ce": 0.8 * ce,
            "val_loss": ce,
            "val_accuracy": accuracy,
            "val_macro_f1": macro_f1,
            "val_weighted_f1": accuracy - 0.002,
            "val_balanced_accuracy": macro_f1 + 0.002,
            "val_mcc": 2 * accuracy - 1,
            "val_auc": 1 - (1 - accuracy) / 2,
            "val_silhouette": 0.8 * (accuracy - _CHANCE) + noise.gauss(0, 0.003),
            "learning_rate": config.learning_rate * (1 - epoch / config.epochs),
            "train_docs_per_second": 100.0,
            "train_tokens_per_second": 100.0 * _TOKENS_PER_DOC,
            "train_seconds": 0.9 * self._epoch_seconds,
            "eval_seconds": 0.1 * self._epoch_seconds,
            "peak_memory_mb": 0.0,
        }
        if config.loss != "ce":
            metrics[f"train_{config.loss}"] = 0.8 * part
        return metrics

    def _place(self) -> tuple[float, ...]:
        """The hyperparameters that the simulated score depends on."""
        config = self._config
        if config.loss != "gloss":
            return (config.learning_rate,)
        weight = config.gloss_weight if config.mode == "integrated" else 1.0
        steps = config.lpa_iterations if config.propagation == "iterative" else 50
        return (config.learning_rate, config.mask_ratio, steps, config.temperature, weight)

    def _height(self) -> float:
        """The score that endless training without overfitting would reach."""
        rate, *graph = self._place()
        penalty = 0.06 * math.log10(rate / 1e-4) ** 2
        if graph:
            mask_ratio, steps, temperature, weight = graph
            penalty += 0.20 * (mask_ratio - 0.4) ** 2
            penalty += 0.02 * math.log10(steps / 8) ** 2
            penalty += 0.05 * math.log10(temperature / 0.1) ** 2
            penalty += 0.10 * (weight - 0.7) ** 2
        return max(0.35, 0.83 - penalty)
