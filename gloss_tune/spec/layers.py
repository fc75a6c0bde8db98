"""Layers of a specification: read, parsed, laid over each other, and compared."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gloss_tune.errors import SpecError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: Path) -> dict[str, Any]:
    """A specification file as a nested table.

    Raises:
        SpecError: if it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError([f"{path}: cannot be read ({error.strerror}); check the path"]) from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, or a number of thousands of digits
        raise SpecError([f"{path}: is not valid TOML: {error}"]) from None


def to_toml(table: Mapping[str, Any]) -> str:
    """A table as TOML, which has no null: such keys are left out."""
    import tomli_w

    return tomli_w.dumps(_without_none(table))


def _without_none(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _without_none(value) for key, value in data.items() if value is not None}
    return data


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """``["space.temperature.high=1.0", …]`` as a nested table; a value is TOML, or else a bare word.

    Raises:
        SpecError: for an assignment without ``=`` or with an empty or clashing key.
    """
    table: dict[str, Any] = {}
    faults = []
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        path = [part.strip() for part in key.split(".")]
        if not equals or not all(path):
            faults.append(f"--set {assignment!r}: must be key=value, for example space.temperature.high=1.0")
            continue
        nested: Any = _toml_value(text)
        for part in reversed(path):
            nested = {part: nested}
        table = _merge(table, nested)
    if faults:
        raise SpecError(faults)
    return table


def lay_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` over ``below``: what ``above`` fixes is no longer searched, and the other way round."""
    merged = _merge(below, above)
    for mine, other in (("train", "space"), ("space", "train")):
        given, table = above.get(mine), merged.get(other)
        if isinstance(given, Mapping) and isinstance(table, Mapping):
            both = above.get(other)
            kept = both if isinstance(both, Mapping) else {}
            merged[other] = {
                name: value for name, value in table.items() if name not in given or name in kept
            }
    return merged


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both_tables = isinstance(under, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(under, value) if both_tables else value  # type: ignore[arg-type]
    return merged


def _toml_value(text: str) -> Any:
    text = text.strip()
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, KeyError, RecursionError):
        return text
