"""What a study fixes of every fine-tune: the hyperparameters that it does not search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gloss_tune.finetune.config import TOP_LEVEL, TRAIN_FIELDS, FinetuneConfig, value_faults
from gloss_tune.spec.ranges import Value

TRAIN_DEFAULTS = {name: getattr(FinetuneConfig(), name) for name in TRAIN_FIELDS}


@dataclass(frozen=True, eq=False)  # equal as mappings are
class TrainSpec(Mapping[str, Value]):
    """The fixed hyperparameters, by the names of :class:`FinetuneConfig`.

    One that is searched, or that changes nothing under the study's loss, is None. As a mapping it holds those that
    are set, in this order, which is how they are stored.
    """

    epochs: int | None = None
    patience: int | None = None
    batch_size: int | None = None
    max_length: int | None = None
    learning_rate: float | None = None
    head_learning_rate: float | None = None
    weight_decay: float | None = None
    warmup_ratio: float | None = None
    clip_norm: float | None = None
    mask_ratio: float | None = None
    lpa_iterations: int | None = None
    propagation: str | None = None
    temperature: float | None = None
    normalization: str | None = None
    gloss_weight: float | None = None
    margin: float | None = None
    precision: str | None = None
    class_weights: str | None = None
    seeds: int | None = None
    folds: int | None = None

    def __getitem__(self, name: str) -> Value:
        if name not in TRAIN_DEFAULTS or getattr(self, name) is None:
            raise KeyError(name)
        value: Value = getattr(self, name)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name in TRAIN_DEFAULTS if getattr(self, name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> TrainSpec:
        """What a table describes.

        Raises:
            ValueError: with every fault.
        """
        found = train_faults(table)
        if found:
            raise ValueError("; ".join(found))
        return cls(**table)


def train_faults(table: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with each hyperparameter by itself, one line a fault, opening with its name."""
    faults = []
    for name, value in table.items():
        if name in TOP_LEVEL:
            faults.append(f"{name}: stands at the top level; write {name} = …")
        elif name not in TRAIN_DEFAULTS:
            faults.append(f"{name}: is unknown; known are {', '.join(TRAIN_DEFAULTS)}")
        else:
            faults.extend(value_faults(name, value))
    return faults
