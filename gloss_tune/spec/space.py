"""The search space: which hyperparameters a study searches, where, and how a trial draws from it."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gloss_tune.finetune.config import CLASS_WEIGHTS, NORMALIZATIONS, PROPAGATIONS
from gloss_tune.spec.prior import prior_faults
from gloss_tune.spec.ranges import ParameterRange, Value
from gloss_tune.spec.train import TRAIN_DEFAULTS

#: Searchable hyperparameters and where to look for them unless the user says otherwise. The first four are the
#: default space; temperatures from 1 up flatten the graph (reference: G-Loss, section 3.2), so 2 is far enough.
DEFAULT_RANGES: dict[str, dict[str, Any]] = {
    "mask_ratio": {"low": 0.1, "high": 0.9},
    "lpa_iterations": {"low": 1, "high": 50, "log": True},
    "temperature": {"low": 0.01, "high": 2.0, "log": True},
    "learning_rate": {"low": 1e-6, "high": 1e-3, "log": True},
    "head_learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
    "gloss_weight": {"low": 0.1, "high": 0.9},
    "margin": {"low": 0.1, "high": 1.0},
    "weight_decay": {"low": 1e-4, "high": 0.3, "log": True},
    "warmup_ratio": {"low": 0.0, "high": 0.3},
    "clip_norm": {"low": 0.1, "high": 10.0, "log": True},
    "batch_size": {"choices": [32, 64, 128, 256]},
    "max_length": {"choices": [64, 128, 256]},
    "epochs": {"low": 1, "high": 20},
    "normalization": {"choices": list(NORMALIZATIONS)},
    "propagation": {"choices": list(PROPAGATIONS)},
    "class_weights": {"choices": list(CLASS_WEIGHTS)},
}

#: Where the runs of a confirmation have their seeds (:mod:`gloss_tune.confirm.confirmation`); no study searches them.
SEED_RANGE: dict[str, Any] = {"low": 0, "high": 2**31 - 1}

# a grid of fewer points than this is counted exactly
_COUNTED = 1_000_000
_GRAPH_ONLY = frozenset({"mask_ratio", "lpa_iterations", "normalization", "propagation"})
_DEFAULT_SPACE = {
    "gloss": ("mask_ratio", "lpa_iterations", "temperature", "learning_rate"),
    "scl": ("temperature", "learning_rate"),
    "triplet": ("margin", "learning_rate"),
    "cosine": ("margin", "learning_rate"),
    "ce": ("learning_rate",),
}


@dataclass(frozen=True, eq=False)  # equal as mappings are
class Space(Mapping[str, ParameterRange]):
    """What a study searches: ranges by name, in the order of the hyperparameter table.

    Args:
        ranges: no two of one name.
    """

    ranges: tuple[ParameterRange, ...] = ()

    def __getitem__(self, name: str) -> ParameterRange:
        for searched in self.ranges:
            if searched.name == name:
                return searched
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (searched.name for searched in self.ranges)

    def __len__(self) -> int:
        return len(self.ranges)

    @classmethod
    def of(cls, tables: Mapping[str, Any]) -> Space:
        """What tables of complete ranges describe; a confirmation's runs also have a range of seeds.

        Raises:
            ValueError: with every fault, each opening with the path of its key.
        """
        names = (*DEFAULT_RANGES, "seed")
        faults = [
            f"{name}: cannot be searched; searchable are {', '.join(names)}"
            for name in tables
            if name not in names
        ]
        ranges = []
        for name in (name for name in names if name in tables):
            table = tables[name]
            try:
                found = table if isinstance(table, ParameterRange) else ParameterRange.of(name, table)
            except (TypeError, ValueError) as error:
                faults.append(f"{name}: {error}")
                continue
            faults.extend(f"{name}: {fault}" for fault in found.faults() or prior_faults(found))
            ranges.append(found)
        if faults:
            raise ValueError("; ".join(faults))
        return cls(tuple(ranges))

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """As plain tables, fit for TOML and JSON."""
        return {searched.name: searched.to_dict() for searched in self.ranges}


def default_space(loss: str, fixed: Mapping[str, object]) -> tuple[str, ...]:
    """Names of the hyperparameters searched when the user names none, less those in ``fixed``."""
    names = _DEFAULT_SPACE.get(loss, ())
    closed_form = fixed.get("propagation") == "closed_form"
    return tuple(n for n in names if n not in fixed and not (closed_form and n == "lpa_iterations"))


def unused_by(loss: str, mode: str) -> frozenset[str]:
    """Hyperparameters that change nothing under this loss and mode."""
    unused: set[str] = set()
    if loss != "gloss":
        unused |= _GRAPH_ONLY
    if loss not in ("gloss", "scl"):
        unused.add("temperature")
    if loss not in ("triplet", "cosine"):
        unused.add("margin")
    if loss == "ce" or mode == "standalone":
        unused.add("gloss_weight")
    if mode == "standalone":
        unused.add("head_learning_rate")
    return frozenset(unused)


def unsearched(loss: str, mode: str, searched: Iterable[str]) -> dict[str, Any]:
    """The defaults of what a study of this loss and mode uses and does not search."""
    left_out = {*unused_by(loss, mode), *searched}
    return {name: value for name, value in TRAIN_DEFAULTS.items() if name not in left_out}


def complete(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored specification with what its release did not know yet: the defaults, which change nothing."""
    values = dict(stored)
    known = unsearched(values["loss"], values["mode"], values["space"])
    return {**values, "train": {**known, **values["train"]}}


def grid_size(space: Sequence[ParameterRange]) -> int:
    """How many points :func:`grid_points` has; exact where they are few enough to be made."""
    most = math.prod(searched.grid_count() for searched in space)
    return most if most > _COUNTED else math.prod(len(searched.grid()) for searched in space)


def space_size(space: Sequence[ParameterRange]) -> int | None:
    """How many points a finite space has; None if it has infinitely many, or more than could be listed."""
    values = [searched.every_value() for searched in space]
    listed = [v for v in values if v is not None]
    return math.prod(map(len, listed)) if len(listed) == len(values) else None


def grid_points(space: Sequence[ParameterRange], seed: int) -> list[dict[str, Value]]:
    """Every combination of the ranges' grid values, in an order drawn with ``seed``."""
    names = [r.name for r in space]
    points = [
        dict(zip(names, values, strict=True)) for values in itertools.product(*(r.grid() for r in space))
    ]
    random.Random(seed).shuffle(points)
    return points
