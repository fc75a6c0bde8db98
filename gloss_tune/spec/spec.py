"""The study specification: everything a worker must agree on, validated at once, then frozen.

A specification is laid together from layers, each over the one before: defaults, a TOML file, named options, and
``--set key=value`` pairs. What comes out names every hyperparameter, so that a later release's other defaults
cannot change a running study.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gloss_tune.finetune.config import FinetuneConfig
from gloss_tune.spec.space import (
    DEFAULT_RANGES,
    ParameterRange,
    Value,
)

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
#: Points worth a first trial: the authors' σ = √(d/3) heuristic, and the one tuned point that they publish.
HEURISTICS = ("sqrt_distance", "published")


#: Fields of a fine-tune that stand at the top of a specification instead of under ``train``.
TOP_LEVEL = ("loss", "mode", "metric", "seed")
TRAIN_DEFAULTS = {
    field.name: field.default for field in dataclasses.fields(FinetuneConfig) if field.name not in TOP_LEVEL
}


class StudySpec(BaseModel):
    """A study as all its workers must see it. ``train`` holds what is fixed, ``space`` what is searched."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    dataset: str = Field(min_length=1)
    text_column: str = Field("text", min_length=1)
    label_column: str = Field("label", min_length=1)
    max_train_docs: int | None = Field(None, ge=2)
    model: str = Field(DEFAULT_MODEL, min_length=1)
    loss: Literal["gloss", "ce", "scl", "triplet", "cosine"] = "gloss"
    mode: Literal["integrated", "standalone"] = "integrated"
    metric: Literal["val_macro_f1", "val_accuracy", "val_silhouette"] = "val_macro_f1"
    trials: int = Field(20, ge=1, le=1_000_000)
    sampler: Literal["tpe", "gp", "random", "qmc", "grid"] = "tpe"
    pruner: Literal["median", "hyperband", "none"] = "median"
    seed: int = Field(0, ge=0, lt=2**63)
    lease: float = Field(60.0, ge=2.0, le=86_400.0)
    max_attempts: int = Field(10, ge=1)
    max_failures: int | None = Field(None, ge=1)
    max_failures_in_a_row: int = Field(10, ge=1)
    keep: int = Field(0, ge=0)
    rehearse: bool = False
    rehearse_seconds: float = Field(0.0, ge=0.0, le=86_400.0)
    first_trials: tuple[Any, ...] = ()
    train: dict[str, Any]
    space: dict[str, Any]

    @property
    def direction(self) -> Literal["maximize"]:
        """Every metric offered is better when higher."""
        return "maximize"

    @property
    def ranges(self) -> tuple[ParameterRange, ...]:
        """What is searched, in the order of the hyperparameter table; a confirmation's runs also have seeds."""
        names = (*DEFAULT_RANGES, "seed")
        return tuple(parameter_range(name, self.space[name]) for name in names if name in self.space)

    @property
    def longest_documents(self) -> int:
        """The highest ``max_length`` that a trial may have, in tokens."""
        searched = [r for r in self.ranges if r.name == "max_length"]
        return max(int(bound) for bound in (searched[0].bounds() if searched else [self.train["max_length"]]))

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


def parameter_range(name: str, table: Mapping[str, Any]) -> ParameterRange:
    """The range that a complete ``space`` table describes."""
    known = dict(table)
    if known.get("choices") is not None:
        known["choices"] = tuple(known["choices"])
    return ParameterRange(name, **known)
