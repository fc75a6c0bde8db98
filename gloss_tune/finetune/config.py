"""What one fine-tune is asked to do, and what it says after each epoch. Imports nothing heavy."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args

from gloss_tune.errors import SpecError

Loss = Literal["gloss", "ce", "scl", "triplet", "cosine"]
Mode = Literal["integrated", "standalone"]
Metric = Literal[
    "val_macro_f1",
    "val_accuracy",
    "val_weighted_f1",
    "val_balanced_accuracy",
    "val_mcc",
    "val_auc",
    "val_silhouette",
]
LOSSES: tuple[str, ...] = get_args(Loss)
MODES: tuple[str, ...] = get_args(Mode)
METRICS: tuple[str, ...] = get_args(Metric)
CLASS_WEIGHTS = ("none", "balanced")
PROPAGATIONS = ("iterative", "closed_form")
NORMALIZATIONS = ("random_walk", "symmetric", "authors")
PRECISIONS = ("auto", "float32", "bfloat16")

#: Metrics that depend on the machine and its load: all others repeat to the last bit on one CPU.
TIMING_METRICS = frozenset(
    {"train_docs_per_second", "train_tokens_per_second", "train_seconds", "eval_seconds", "peak_memory_mb"}
)

_CHOICES = {
    "loss": LOSSES,
    "mode": MODES,
    "metric": METRICS,
    "propagation": PROPAGATIONS,
    "normalization": NORMALIZATIONS,
    "precision": PRECISIONS,
    "class_weights": CLASS_WEIGHTS,
}
_WHOLE_NUMBERS = {
    "epochs": (1, "how many passes over the training documents at most"),
    "patience": (1, "how many epochs without a better one end the run"),
    "batch_size": (2, "the graph needs a hidden and a visible document"),
    "max_length": (3, "tokens a document, with the two special ones"),
    "lpa_iterations": (1, "steps of label propagation"),
    "seeds": (1, "trainings whose mean counts"),
    "folds": (1, "parts of the data, each validated on once; 1 for none"),
    "seed": (0, "any whole number from 0"),
}
# what fits wherever whole numbers are counted and kept
_LARGEST, _LARGEST_SEED = 2**31 - 1, 2**63 - 1
# name → (low, low is allowed, high, high is allowed)
_NUMBERS = {
    "learning_rate": (0.0, False, math.inf, False),
    "head_learning_rate": (0.0, False, math.inf, False),
    "weight_decay": (0.0, True, math.inf, False),
    "warmup_ratio": (0.0, True, 1.0, False),
    "clip_norm": (0.0, False, math.inf, False),
    "mask_ratio": (0.0, False, 1.0, False),
    "temperature": (0.0, False, math.inf, False),
    "gloss_weight": (0.0, True, 1.0, True),
    "margin": (0.0, False, math.inf, False),
}


@dataclass(frozen=True)
class FinetuneConfig:
    """One fine-tune of a sentence encoder.

    Args:
        loss: what trains the encoder beside cross-entropy: ``gloss``, ``scl`` (supervised contrastive),
            ``triplet`` (batch-all), ``cosine``, or ``ce`` (cross-entropy alone).
        mode: ``integrated`` trains encoder and linear head together by
            ``gloss_weight * loss + (1 - gloss_weight) * cross-entropy``; ``standalone`` trains the encoder by
            the loss alone and fits a linear probe on its frozen embeddings.
        metric: the validation metric that decides which epoch is the best; higher is better.
        epochs: passes over the training documents at most.
        patience: epochs in a row without a better one after which the run ends.
        batch_size: documents a step, and nodes of the graph. A batch of more tokens than memory should hold goes
            through the encoder in parts, twice each; the loss always sees all of it.
        max_length: tokens a document at most, special tokens included.
        learning_rate: peak rate of the encoder, after warm-up; 1e-4 suits MiniLM, 2e-5 to 5e-5 BERT-base.
        head_learning_rate: peak rate of the linear head; integrated mode only.
        weight_decay: AdamW's decay, not applied to biases and layer norms.
        warmup_ratio: part of all steps in which the rate rises from 0; it then falls linearly to 0.
        clip_norm: largest norm of the whole gradient.
        mask_ratio: part of the batch whose labels are hidden, in (0, 1).
        lpa_iterations: steps K of iterative propagation; not used by ``closed_form``.
        propagation: ``iterative`` or ``closed_form`` (K → ∞).
        temperature: similarity temperature τ = σ² of the graph, above 0; for ``scl`` that of its softmax.
        normalization: how the graph becomes transition probabilities.
        gloss_weight: weight λ of the loss against cross-entropy, in [0, 1); integrated mode only.
        margin: of the ``triplet`` loss, between unit vectors.
        precision: ``bfloat16`` (autocast), ``float32``, or ``auto``: the fastest for this encoder, as measured on
            a CPU; in a study as its first worker measured it.
        class_weights: ``balanced`` lets a document count for N / (C · documents of its class): rare classes as much as
            frequent ones. Cross-entropy, the probe, ``gloss`` (masked documents) and ``scl`` (anchors) then take the
            weighted mean; ``triplet`` and ``cosine``, which are means over triplets and pairs, stay as they are.
        seeds: how many trainings a trial is, the first with ``seed``; the mean of their best epochs counts, and each
            is one report (see :class:`~gloss_tune.finetune.repeated.Repeated`).
        folds: where above 1, a trial is so many trainings, each validated on another stratified fold of
            train and val together, which ``seed`` splits; their mean counts, as that of ``seeds`` does.
        seed: decides the order of documents, masks and dropout; the head starts at zero.
    """

    loss: str = "gloss"
    mode: str = "integrated"
    metric: str = "val_macro_f1"
    epochs: int = 10
    patience: int = 3
    batch_size: int = 128
    max_length: int = 128
    learning_rate: float = 1e-4
    head_learning_rate: float = 1e-2
    weight_decay: float = 0.01
    warmup_ratio: float = 0.1
    clip_norm: float = 1.0
    mask_ratio: float = 0.5
    lpa_iterations: int = 10
    propagation: str = "iterative"
    temperature: float = 0.1
    normalization: str = "random_walk"
    gloss_weight: float = 0.7
    margin: float = 0.5
    precision: str = "auto"
    class_weights: str = "none"
    seeds: int = 1
    folds: int = 1
    seed: int = 0

    @property
    def steps(self) -> int:
        """How many reports a run gives at most: its epochs, or where it has several trainings one for each."""
        return self.epochs if self.trainings == 1 else self.trainings

    @property
    def trainings(self) -> int:
        """How many trainings a trial is: one for each seed, or for each fold."""
        return max(self.seeds, self.folds)

    def faults(self) -> list[str]:
        """Everything that is wrong here, one line a fault, each opening with the field's name."""
        values = asdict(self)
        return [
            fault for name in values for fault in value_faults(name, values[name])
        ] or self._contradictions()

    def _contradictions(self) -> list[str]:
        if self.seeds > 1 and self.folds > 1:
            return [
                f"folds: a trial has several folds or several seeds, got {self.folds} folds and {self.seeds} seeds; "
                "set one of the two to 1 ('confirm' brings other seeds, each with folds of its own)"
            ]
        if self.mode == "standalone" and self.loss == "ce":
            return [
                "mode: standalone needs a loss on embeddings, got loss 'ce'; use integrated or another loss"
            ]
        if self.mode == "integrated" and self.loss != "ce" and self.gloss_weight == 1.0:
            return [
                "gloss_weight: must be below 1 in integrated mode (cross-entropy trains the head), got 1.0; "
                "lower it or use mode standalone"
            ]
        return []

    def validate(self) -> None:
        """Refuse a configuration that cannot be run.

        Raises:
            SpecError: with every fault at once.
        """
        faults = self.faults()
        if faults:
            raise SpecError(faults)


#: Fields that a study's specification has at its top; the others stand in its table ``train``.
TOP_LEVEL = ("loss", "mode", "metric", "seed")
TRAIN_FIELDS = tuple(field.name for field in fields(FinetuneConfig) if field.name not in TOP_LEVEL)


def value_faults(name: str, value: object) -> list[str]:
    """What is wrong with one field's value whatever the others are, one line a fault, opening with the field's name."""
    if name in _CHOICES and value not in _CHOICES[name]:
        return [f"{name}: must be one of {', '.join(_CHOICES[name])}, got {value!r}; choose one of these"]
    if name in _WHOLE_NUMBERS:
        low, meaning = _WHOLE_NUMBERS[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            return [f"{name}: must be a whole number of at least {low} ({meaning}), got {value!r}; set it so"]
        most = _LARGEST_SEED if name == "seed" else _LARGEST
        if value > most:
            return [f"{name}: must be at most {most}, got {value!r}; lower it"]
    if name in _NUMBERS and not _within(value, *_NUMBERS[name]):
        return [f"{name}: must be a number {_range_rule(*_NUMBERS[name])}, got {value!r}; set it so"]
    return []


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did.

    Args:
        epoch: its number, from 1.
        metrics: ``train_loss``, ``train_ce`` and ``train_<loss>`` (means over the epoch's documents),
            ``val_loss`` (cross-entropy of the head, not weighted), those of :data:`METRICS`,
            ``learning_rate`` (of the epoch's last step), and those of :data:`TIMING_METRICS`.
        is_best: whether this is the best epoch so far.
    """

    epoch: int
    metrics: dict[str, float]
    is_best: bool


def _within(value: object, low: float, low_allowed: bool, high: float, high_allowed: bool) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= sys.float_info.max:
        return False
    above = value >= low if low_allowed else value > low
    below = value <= high if high_allowed else value < high
    return above and below


def _range_rule(low: float, low_allowed: bool, high: float, high_allowed: bool) -> str:
    rule = f"of at least {low:g}" if low_allowed else f"above {low:g}"
    if math.isfinite(high):
        rule += f" and {'at most' if high_allowed else 'below'} {high:g}"
    return rule
