"""From layers of nested tables to a validated specification: every fault at once, each with the path of its key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gloss_tune.errors import SpecError
from gloss_tune.finetune.config import LOSSES
from gloss_tune.logging import logger
from gloss_tune.spec.layers import lay_over
from gloss_tune.spec.space import (
    DEFAULT_RANGES,
    ParameterRange,
    default_space,
    grid_size,
    is_number,
    space_size,
    unused_by,
)
from gloss_tune.spec.spec import HEURISTICS, TOP_LEVEL, TRAIN_DEFAULTS, StudySpec, parameter_range


def build_spec(*layers: Mapping[str, Any]) -> StudySpec:
    """Lay ``layers`` over each other and validate the result.

    Args:
        layers: nested tables, later ones win. ``space.NAME`` may be a table (merged with the default range) or a
            single value, which fixes the hyperparameter.

    Raises:
        SpecError: with every fault at once, each with the path of its key.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = lay_over(merged, layer)
    faults: list[str] = []
    if "dataset" not in merged:
        faults.append("dataset: is needed: a name (see 'gloss-tune datasets') or a path")
    train = _table(merged, "train", faults)
    space = _table(merged, "space", faults)
    loss, mode = merged.get("loss", "gloss"), merged.get("mode", "integrated")
    train, ranges = _split_fixed(train, space, str(loss), faults)
    unused = _unused(str(loss), str(mode))
    faults.extend(
        f"{name}: has no effect with loss {loss!r} in mode {mode!r}; leave it out"
        for name in {**train, **ranges}
        if name in unused
    )
    fixed = {
        name: value for name, value in TRAIN_DEFAULTS.items() if name not in unused and name not in ranges
    }
    values = {**merged, "train": {**fixed, **train}, "space": ranges}
    if isinstance(values.get("first_trials"), list):
        values["first_trials"] = tuple(values["first_trials"])
    values.setdefault("dataset", "?")
    try:
        spec = StudySpec.model_validate(values)
    except ValidationError as error:
        raise SpecError([*faults, *(_pydantic_fault(item) for item in error.errors())]) from None
    if not faults:
        faults.extend(_value_faults(spec))
    if not faults and spec.sampler == "grid" and grid_size(spec.ranges) > _LARGEST_GRID:
        faults.append(
            f"space: its grid has {grid_size(spec.ranges):,} points, the limit is {_LARGEST_GRID:,}; "
            "lower 'points', or choose another sampler"
        )
    if faults:
        raise SpecError(faults)
    return _within_space(spec)


def fitted_to(layer: Mapping[str, Any], loss: str, mode: str) -> dict[str, Any]:
    """A layer made for one loss as the base of a study of another: without hyperparameters that have no effect there.

    Args:
        layer: nested tables, such as a shipped specification.
        loss: of the study.
        mode: of the study.
    """
    unused = _unused(loss, mode)
    tables = {
        key: {name: value for name, value in layer[key].items() if name not in unused}
        for key in ("train", "space")
        if isinstance(layer.get(key), Mapping)
    }
    return {**layer, **tables}


def _table(merged: Mapping[str, Any], key: str, faults: list[str]) -> dict[str, Any]:
    table = merged.get(key, {})
    if isinstance(table, Mapping):
        return dict(table)
    faults.append(f"{key}: must be a table of hyperparameters, got {table!r}")
    return {}


def _split_fixed(
    train: dict[str, Any], space: dict[str, Any], loss: str, faults: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort what was given into fixed hyperparameters and complete ranges, noting the faults."""
    fixed = dict(train)
    for name in train:
        if name in TOP_LEVEL:
            faults.append(f"train.{name}: stands at the top level; write {name} = …")
        elif name not in TRAIN_DEFAULTS:
            faults.append(f"train.{name}: is unknown; known are {', '.join(TRAIN_DEFAULTS)}")
    tables: dict[str, Mapping[str, Any]] = {}
    for name, given in space.items():
        if name in train:
            faults.append(f"train.{name}: is also under space; either fix it or search it")
        if name not in DEFAULT_RANGES:
            faults.append(f"space.{name}: cannot be searched; searchable are {', '.join(DEFAULT_RANGES)}")
        elif isinstance(given, Mapping):
            tables[name] = given
        else:
            fixed[name] = given
    for name in default_space(loss, fixed):
        tables.setdefault(name, {})
    ranges = {}
    for name in DEFAULT_RANGES:
        if name in tables:
            complete = _complete_range(name, tables[name], faults)
            if complete is not None:
                ranges[name] = complete
                fixed.pop(name, None)
    return fixed, ranges


def _complete_range(name: str, table: Mapping[str, Any], faults: list[str]) -> dict[str, Any] | None:
    keys = ("low", "high", "log", "step", "points", "choices")
    unknown = [key for key in table if key not in keys]
    if unknown:
        faults.extend(f"space.{name}.{key}: is unknown; known are {', '.join(keys)}" for key in unknown)
        return None
    default = DEFAULT_RANGES[name]
    if "choices" in table:
        clash = [key for key in table if key != "choices"]
        if clash:
            faults.append(f"space.{name}: 'choices' excludes {', '.join(clash)}; keep one of the two")
            return None
        if not isinstance(table["choices"], list | tuple):
            faults.append(f"space.{name}.choices: must be a list, got {table['choices']!r}")
            return None
        whole = {"choices": tuple(table["choices"])}
    else:
        inherited = {} if "choices" in default and table else dict(default)
        if "step" in table and "log" not in table:
            inherited.pop("log", None)
        whole = {**inherited, **table}
    if not isinstance(whole.get("log", False), bool):
        faults.append(f"space.{name}.log: must be true or false, got {whole['log']!r}")
        return None
    candidate = parameter_range(name, whole)
    found = candidate.faults()
    faults.extend(f"space.{name}: {fault}" for fault in found)
    return None if found else candidate.to_dict()


def _unused(loss: str, mode: str) -> frozenset[str]:
    return unused_by(loss, mode) if loss in LOSSES else frozenset()


def _value_faults(spec: StudySpec) -> list[str]:
    """Faults of single values: the fixed ones, the ends of each range, and the first trials."""
    faults = [
        f"{name}: is neither a known name nor one that a file could have, got {value[:40]!r}…; check it"
        for name, value in (("dataset", spec.dataset), ("model", spec.model))
        if "\0" in value or any(len(os.fsencode(part)) > _LONGEST_FILE_NAME for part in Path(value).parts)
    ]
    ranges = spec.ranges
    inside = {r.name: r.bounds()[0] for r in ranges}
    for fault in spec.config(inside).faults():
        name = fault.split(":", 1)[0]
        prefix = "space." if name in inside else "" if name in TOP_LEVEL else "train."
        faults.append(f"{prefix}{fault}")
    for searched in ranges:
        for bound in searched.bounds()[1:]:
            for fault in spec.config({**inside, searched.name: bound}).faults():
                if fault.startswith(f"{searched.name}:"):
                    faults.append(f"space.{fault}")
    if not spec.space and spec.trials > 1:
        faults.append(
            f"space: is empty, so that all {spec.trials} trials would be the same; search something"
        )
    if spec.first_trials and spec.sampler == "grid":
        faults.append("first_trials: a grid has its own; leave them out, or choose another sampler")
    if len(spec.first_trials) > spec.trials:
        faults.append(
            f"first_trials: are {len(spec.first_trials)}, more than the {spec.trials} trials; raise trials"
        )
    for index, first in enumerate(spec.first_trials):
        faults.extend(f"first_trials[{index}]: {fault}" for fault in first_trial_faults(first, spec))
    return faults


def first_trial_faults(first: Any, spec: StudySpec) -> list[str]:
    """What is wrong with a trial's given parameters, or with the name of a heuristic; nothing if all is well."""
    if isinstance(first, str):
        if first not in HEURISTICS:
            return [f"must be a table of hyperparameters or one of {', '.join(HEURISTICS)}, got {first!r}"]
        return [] if spec.loss == "gloss" else [f"{first!r} places the G-Loss; the loss is {spec.loss!r}"]
    if not isinstance(first, Mapping):
        return [f"must be a table of hyperparameters or one of {', '.join(HEURISTICS)}, got {first!r}"]
    faults = []
    for name, value in first.items():
        if name not in spec.space:
            faults.append(f"{name} is not searched here; searched are {', '.join(spec.space)}")
        else:
            faults.extend(_outside(parameter_range(name, spec.space[name]), value))
    return faults


def _outside(searched: ParameterRange, value: Any) -> list[str]:
    if searched.choices is not None:
        fits = value in searched.choices
    elif not is_number(value):
        fits = False
    else:
        assert searched.low is not None and searched.high is not None
        whole = not searched.is_integer or value == int(value)
        fits = searched.low <= value <= searched.high and whole
    return [] if fits else [f"{searched.name}={value!r} lies outside its range {searched.to_dict()}"]


def _pydantic_fault(item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        known = ", ".join(StudySpec.model_fields)
        return f"{path}: is unknown; known are {known}"
    return f"{path}: {item['msg'][0].lower()}{item['msg'][1:]}, got {item['input']!r}"


def _within_space(spec: StudySpec) -> StudySpec:
    """A finite space cannot hold more trials than it has points; none is tried twice."""
    size = grid_size(spec.ranges) if spec.sampler == "grid" else space_size(spec.ranges)
    if size is None or spec.trials <= size:
        return spec
    what = "grid" if spec.sampler == "grid" else "space"
    logger.warning(
        "The %s has %d points in all, so that the study has %d trials instead of %d.",
        what,
        size,
        size,
        spec.trials,
    )
    return spec.model_copy(update={"trials": size})


_LARGEST_GRID = 100_000


_LONGEST_FILE_NAME = 255
