"""From layers of nested tables to a validated specification: every fault at once, each with the path of its key."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gloss_tune.errors import SpecError
from gloss_tune.finetune.config import LOSSES, TOP_LEVEL, value_faults
from gloss_tune.logging import logger
from gloss_tune.spec.layers import lay_over
from gloss_tune.spec.prior import default_spread, prior_faults
from gloss_tune.spec.ranges import PRIOR_KEYS, RANGE_KEYS, ParameterRange
from gloss_tune.spec.space import (
    DEFAULT_RANGES,
    Space,
    default_space,
    grid_size,
    space_size,
    unsearched,
    unused_by,
)
from gloss_tune.spec.spec import HEURISTICS, StudySpec
from gloss_tune.spec.train import TRAIN_DEFAULTS, TrainSpec, train_faults

_LARGEST_GRID = 100_000
_LONGEST_FILE_NAME = 255
_LARGEST_NUMBER = 2**63 - 1


def lay_together(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Layers laid over each other, later ones win; nothing is validated."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = lay_over(merged, layer)
    return merged


def build_spec(*layers: Mapping[str, Any]) -> StudySpec:
    """Lay ``layers`` over each other and validate the result.

    Args:
        layers: nested tables, later ones win. ``space.NAME`` may be a table (merged with the default range) or a
            single value, which fixes the hyperparameter.

    Raises:
        SpecError: with every fault at once, each with the path of its key.
    """
    merged = lay_together(*layers)
    too_large = list(_too_large(merged))
    if too_large:
        raise SpecError(too_large)
    faults: list[str] = []
    if "dataset" not in merged:
        faults.append("dataset: is needed: a name (see 'gloss-tune datasets') or a path")
    train = _table(merged, "train", faults)
    space = _table(merged, "space", faults)
    loss, mode = str(merged.get("loss", "gloss")), str(merged.get("mode", "integrated"))
    fixed, ranges = _split_fixed(train, space, loss, faults)
    unused = _unused(loss, mode)
    faults.extend(
        f"{name}: has no effect with loss {loss!r} in mode {mode!r}; leave it out"
        for name in {**fixed, **ranges}
        if name in unused
    )
    # what is wrong by itself is named and set aside, so that all else is looked at too
    faults.extend(f"train.{fault}" for fault in train_faults(fixed))
    sound = {name: value for name, value in fixed.items() if not train_faults({name: value})}
    whole = {name: found for name, found in ranges.items() if found is not None}
    defaults = unsearched(loss, mode, ranges) if loss in LOSSES else TRAIN_DEFAULTS
    top = {key: value for key, value in merged.items() if key not in ("train", "space")}
    spec, wrong = _validated(
        {**top, "train": TrainSpec(**{**defaults, **sound}), "space": Space.of(whole)}, faults
    )
    doubtful = {*wrong, *(fixed.keys() - sound.keys()), *(ranges.keys() - whole.keys())}
    if not isinstance(merged.get("space", {}), Mapping):
        doubtful.add("space")
    faults.extend(_name_faults(spec))
    faults.extend(_faults_together(spec, doubtful))
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
    train: Mapping[str, Any], space: Mapping[str, Any], loss: str, faults: list[str]
) -> tuple[dict[str, Any], dict[str, ParameterRange | None]]:
    """Sort what was given into fixed hyperparameters and ranges, noting the faults; a faulty range is None."""
    fixed = dict(train)
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
            ranges[name] = _complete_range(name, tables[name], faults)
            fixed.pop(name, None)
    return fixed, ranges


def _complete_range(name: str, table: Mapping[str, Any], faults: list[str]) -> ParameterRange | None:
    """The range that a table and the default of its name describe; None if something is wrong with it."""
    unknown = [key for key in table if key not in RANGE_KEYS]
    if unknown:
        faults.extend(f"space.{name}.{key}: is unknown; known are {', '.join(RANGE_KEYS)}" for key in unknown)
        return None
    default = DEFAULT_RANGES[name]
    if "choices" in table:
        clash = [key for key in table if key not in ("choices", *PRIOR_KEYS)]
        if clash:
            faults.append(f"space.{name}: 'choices' excludes {', '.join(clash)}; keep one of the two")
            return None
        whole = dict(table)
    else:
        inherited = {} if "choices" in default and not table.keys() <= set(PRIOR_KEYS) else dict(default)
        if "step" in table and "log" not in table:
            inherited.pop("log", None)
        whole = {**inherited, **table}
    found = ParameterRange.of(name, whole)
    shape = found.shape_faults()
    if shape:
        faults.extend(f"space.{name}.{fault}" for fault in shape)
        return None
    wrong = found.faults() or [
        fault.partition(": ")[2] for bound in found.bounds() for fault in value_faults(name, bound)
    ]
    wrong = wrong or prior_faults(found)
    faults.extend(f"space.{name}: {fault}" for fault in wrong)
    if wrong:
        return None
    # written down, so that a later release's other default changes no running study
    return found if found.prior is None or found.spread else replace(found, spread=default_spread(found))


def _unused(loss: str, mode: str) -> frozenset[str]:
    return unused_by(loss, mode) if loss in LOSSES else frozenset()


def _too_large(value: Any, path: str = "") -> Iterator[str]:
    """What no database and no TOML can hold, nor Python print."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _too_large(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _too_large(inner, path)
    elif isinstance(value, int) and abs(value) > _LARGEST_NUMBER:
        key = ".".join(path.split(".")[:2])
        yield f"{key}: a whole number has at most 64 bits, got one of {value.bit_length()}; lower it"


def _validated(values: dict[str, Any], faults: list[str]) -> tuple[StudySpec, set[str]]:
    """The specification, its wrong fields replaced by their defaults; and which these are."""
    usable = {"dataset": "?", **values}
    try:
        return StudySpec.model_validate(usable), set()
    except ValidationError as error:
        faults.extend(_pydantic_fault(item) for item in error.errors())
        wrong = {str(item["loc"][0]) for item in error.errors()}
    kept = {"dataset": "?", **{key: value for key, value in values.items() if key not in wrong}}
    return StudySpec.model_validate(kept), wrong


def _name_faults(spec: StudySpec) -> list[str]:
    return [
        f"{name}: is neither a known name nor one that a file could have, got {value[:40]!r}…; check it"
        for name, value in (("dataset", spec.dataset), ("model", spec.model))
        if "\0" in value or any(len(os.fsencode(part)) > _LONGEST_FILE_NAME for part in Path(value).parts)
    ]


def _faults_together(spec: StudySpec, doubtful: set[str]) -> list[str]:
    """What sound values do wrong together; nothing is said that rests on a doubtful field."""
    faults = []
    if not doubtful & {"loss", "mode", "gloss_weight"}:
        faults.extend(_contradictions(spec))
    if not doubtful & {"loss", "space", "trials", *DEFAULT_RANGES} and not spec.space and spec.trials > 1:
        faults.append(
            f"space: is empty, so that all {spec.trials} trials would be the same; search something"
        )
    if spec.folds > 1 and spec.max_val_docs is not None:
        faults.append(
            f"max_val_docs: train.folds = {spec.folds} decides what is validated on, got {spec.max_val_docs} as well; "
            "leave one of them out (max_train_docs samples the documents that folds are made of)"
        )
    if spec.sampler == "grid" and grid_size(spec.ranges) > _LARGEST_GRID:
        faults.append(
            f"space: its grid has {grid_size(spec.ranges):,} points, the limit is {_LARGEST_GRID:,}; "
            "lower 'points', or choose another sampler"
        )
    if not doubtful & {"space", "sampler", "priors", *DEFAULT_RANGES}:
        faults.extend(_unused_priors(spec))
    if spec.first_trials and spec.sampler == "grid":
        faults.append("first_trials: a grid has its own; leave them out, or choose another sampler")
    if len(spec.first_trials) > spec.trials and "trials" not in doubtful:
        faults.append(
            f"first_trials: are {len(spec.first_trials)}, more than the {spec.trials} trials; raise trials"
        )
    for index, first in enumerate(spec.first_trials):
        faults.extend(
            f"first_trials[{index}]: {fault}" for fault in first_trial_faults(first, spec, doubtful)
        )
    return faults


def _unused_priors(spec: StudySpec) -> list[str]:
    named = [searched.name for searched in spec.ranges if searched.prior is not None]
    if spec.sampler in ("grid", "qmc"):
        why = f"has no effect with sampler {spec.sampler!r}, whose points are laid evenly; leave it out"
    elif not spec.priors:
        why = "is given although priors = false (--no-priors) asks for none; leave one of the two out"
    else:
        return []
    return [f"space.{name}.prior: {why}" for name in named]


def _contradictions(spec: StudySpec) -> list[str]:
    first = {searched.name: searched.bounds()[0] for searched in spec.ranges}
    weights = spec.space["gloss_weight"].bounds() if "gloss_weight" in spec.space else ()
    tried = [first, *({**first, "gloss_weight": weight} for weight in weights)]
    found = dict.fromkeys(fault for params in tried for fault in spec.config(params).faults())
    return [_with_path(fault, spec) for fault in found]


def _with_path(fault: str, spec: StudySpec) -> str:
    name = fault.partition(":")[0]
    return fault if name in TOP_LEVEL else f"{'space' if name in spec.space else 'train'}.{fault}"


def first_trial_faults(first: Any, spec: StudySpec, doubtful: Collection[str] = ()) -> list[str]:
    """What is wrong with a trial's given parameters, or with the name of a heuristic; nothing if all is well."""
    if isinstance(first, str) and first in HEURISTICS:
        fits = first == "customary" or spec.loss == "gloss" or "loss" in doubtful
        return [] if fits else [f"{first!r} places the G-Loss; the loss is {spec.loss!r}"]
    if not isinstance(first, Mapping):
        return [f"must be a table of hyperparameters or one of {', '.join(HEURISTICS)}, got {first!r}"]
    faults = []
    for name, value in first.items():
        if name in doubtful:
            continue
        if name not in spec.space:
            faults.append(f"{name} is not searched here; searched are {', '.join(spec.space)}")
        elif not spec.space[name].contains(value):
            faults.append(f"{name}={value!r} lies outside its range {spec.space[name].to_dict()}")
    return faults


def _pydantic_fault(item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        known = ", ".join(StudySpec.model_fields)
        return f"{path}: is unknown; known are {known}"
    said = item["msg"].removeprefix("Value error, ")  # as pydantic opens what a validator of ours says
    return f"{path}: {said[0].lower()}{said[1:]}, got {item['input']!r}"


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
