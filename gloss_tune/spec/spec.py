"""The study specification: everything a worker must agree on, validated at once, then frozen.

A specification is laid together from layers, each over the one before: defaults, a TOML file, named options, and
``--set key=value`` pairs. What comes out names every hyperparameter, so that a later release's other defaults
cannot change a running study.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_serializer, field_validator

from gloss_tune.finetune.config import TOP_LEVEL, FinetuneConfig, Loss, Metric, Mode
from gloss_tune.spec.ranges import ParameterRange, Value
from gloss_tune.spec.sampler_name import SAMPLERS, is_sampler
from gloss_tune.spec.space import Space
from gloss_tune.spec.train import TrainSpec

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
#: Points worth a first trial: the authors' σ = √(d/3) heuristic, and the one tuned point that they publish.
HEURISTICS = ("customary", "sqrt_distance", "published")

# what a database's whole number holds
_LARGEST = 2**31 - 1


class StudySpec(BaseModel):
    """A study as all its workers must see it. ``train`` holds what is fixed, ``space`` what is searched."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    dataset: str = Field(min_length=1)
    text_column: str = Field("text", min_length=1)
    label_column: str = Field("label", min_length=1)
    separator: str | None = None
    no_header: bool = False
    encoding: str | None = None
    max_train_docs: int | None = Field(None, ge=2, le=_LARGEST)
    max_val_docs: int | None = Field(None, ge=2, le=_LARGEST)
    model: str = Field(DEFAULT_MODEL, min_length=1)
    prompt: str | None = None
    trust_remote_code: bool = False
    loss: Loss = "gloss"
    mode: Mode = "integrated"
    metric: Metric = "val_macro_f1"
    trials: int = Field(20, ge=1, le=1_000_000)
    sampler: str = "tpe"
    pruner: Literal["median", "hyperband", "asha", "none"] = "median"
    seed: int = Field(0, ge=0, lt=2**63)
    lease: float = Field(60.0, ge=2.0, le=86_400.0)
    max_attempts: int = Field(10, ge=1, le=_LARGEST)
    max_failures: int | None = Field(None, ge=1, le=_LARGEST)
    max_failures_in_a_row: int = Field(10, ge=1, le=_LARGEST)
    keep: int = Field(0, ge=0, le=_LARGEST)
    rehearse: bool = False
    rehearse_seconds: float = Field(0.0, ge=0.0, le=86_400.0)
    first_trials: tuple[Any, ...] = ()
    priors: bool = True
    train: TrainSpec
    space: Space

    @field_validator("sampler")
    @classmethod
    def _known_sampler(cls, value: str) -> str:
        if is_sampler(value):
            return value
        names = ", ".join(f"'{name}'" for name in SAMPLERS)
        raise ValueError(f"input should be {names} or 'hub:NAME'")

    @field_validator("train", "space", "first_trials", mode="before")
    @classmethod
    def _from_plain_values(cls, value: Any, info: ValidationInfo) -> Any:
        """From tables and lists, as they come from TOML and from the storage."""
        if info.field_name == "first_trials":
            return tuple(value) if isinstance(value, list) else value
        if isinstance(value, TrainSpec | Space) or not isinstance(value, Mapping):
            return value
        return TrainSpec.of(value) if info.field_name == "train" else Space.of(value)

    @field_serializer("train", "space")
    def _to_plain_values(self, value: TrainSpec | Space) -> dict[str, Any]:
        return dict(value) if isinstance(value, TrainSpec) else value.to_dict()

    @property
    def direction(self) -> Literal["maximize"]:
        """Every metric offered is better when higher."""
        return "maximize"

    @property
    def ranges(self) -> tuple[ParameterRange, ...]:
        """What is searched, in the order of the hyperparameter table; a confirmation's runs also have seeds."""
        return self.space.ranges

    @property
    def most_epochs(self) -> int:
        """The highest ``epochs`` that a trial may have."""
        return self._highest("epochs")

    @property
    def most_steps(self) -> int:
        """How many reports a trial gives at most, see :attr:`FinetuneConfig.steps`."""
        return self.most_epochs if self.trainings == 1 else self.trainings

    @property
    def trainings(self) -> int:
        """How many trainings a trial is, see :attr:`FinetuneConfig.trainings`."""
        return max(self.train.seeds or 1, self.folds)

    @property
    def folds(self) -> int:
        """On how many folds a trial is trained; 1 for none."""
        return self.train.folds or 1

    @property
    def step_name(self) -> str:
        """What a trial reports after: each ``epoch``, or each ``seed`` or ``fold`` where it has several."""
        return "fold" if self.folds > 1 else "seed" if self.trainings > 1 else "epoch"

    @property
    def longest_documents(self) -> int:
        """The highest ``max_length`` that a trial may have, in tokens."""
        return self._highest("max_length")

    def lowest(self, name: str) -> int:
        """The lowest value of a hyperparameter that a trial may have."""
        if name in self.space:
            return int(min(self.space[name].bounds()))
        return int(self.train[name])

    def _highest(self, name: str) -> int:
        return int(self.space[name].highest() if name in self.space else self.train[name])

    def config(self, params: Mapping[str, Value]) -> FinetuneConfig:
        """The fine-tune of a trial that drew ``params``.

        Every trial trains with the study's own seed: trials then differ by their hyperparameters alone, and the
        exported best can be rerun from what the export says. Only a confirmation's trials bring seeds of their own.
        """
        top = {name: getattr(self, name) for name in TOP_LEVEL}
        return FinetuneConfig(**{**top, **self.train, **params})

    def to_dict(self) -> dict[str, Any]:
        """As plain values, fit for JSON."""
        return self.model_dump(mode="json")


def default_study_name(spec: StudySpec) -> str:
    """Tells data set, encoder, loss and mode apart, so that studies on one storage do not collide."""
    parts = [Path(spec.dataset).resolve().name, spec.model.rstrip("/").rsplit("/", 1)[-1].lower(), spec.loss]
    if spec.mode != "integrated":
        parts.append(spec.mode)
    if spec.rehearse:
        parts.append("rehearsal")
    name = "-".join(re.sub(r"[^A-Za-z0-9._-]+", "_", part) for part in parts).lstrip("._-")
    return name[:200] or "study"
