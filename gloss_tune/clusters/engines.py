"""The engines that ``launch --on`` knows, and which options are theirs; nothing here is heavy."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from gloss_tune.errors import InputError


class Engine(str, Enum):
    """What supplies processes."""

    slurm = "slurm"
    ray = "ray"
    kubernetes = "kubernetes"


#: What one engine alone heeds; the other options of engines are for all.
OWN = {
    "--time": Engine.slurm,
    "--partition": Engine.slurm,
    "--account": Engine.slurm,
    "--sbatch-arg": Engine.slurm,
    "--address": Engine.ray,
    "--ray-arg": Engine.ray,
    "--image": Engine.kubernetes,
    "--namespace": Engine.kubernetes,
    "--claim": Engine.kubernetes,
    "--secret": Engine.kubernetes,
    "--mount": Engine.kubernetes,
}


def check_options(engine: Engine | None, given: Mapping[str, Any], local: Mapping[str, Any]) -> None:
    """Refuse options that an engine, or this machine without one, would not heed.

    Args:
        engine: None for workers on this machine.
        given: options of engines, by name; None, False and empty lists were not given.
        local: options of this machine alone, likewise.

    Raises:
        InputError: one was given that would be passed over.
    """
    for name, value in given.items():
        heeding = [OWN[name]] if name in OWN else list(Engine)
        if not _is_given(value):
            continue
        if engine is None:
            engines = "|".join(each.value for each in heeding)
            raise InputError(f"{name} is for launch --on {engines}; leave it out here")
        if engine not in heeding:
            raise InputError(
                f"{name} is for launch --on {heeding[0].value}; leave it out with --on {engine.value}"
            )
    for name, value in local.items():
        if _is_given(value) and engine is not None:
            raise InputError(f"{name} is for workers on this machine; leave it out with --on {engine.value}")


def _is_given(value: object) -> bool:
    return value is not None and value is not False and value != []
