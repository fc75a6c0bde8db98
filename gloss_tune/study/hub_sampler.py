"""Samplers of an OptunaHub registry on this machine, by ``hub:NAME``: found, locked to their code, loaded.

Nothing is downloaded. A study keeps ``hub:NAME@DIGEST``, the digest of all files of the sampler's folder, so that all
of its workers draw by the same code.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from gloss_tune.errors import InputError
from gloss_tune.spec.sampler_name import HubName, hub_name
from gloss_tune.spec.spec import StudySpec
from gloss_tune.study.wrapped_sampler import WrappedSampler

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

#: The environment variable that names a registry: a folder with ``samplers/NAME`` or ``package/samplers/NAME``.
REGISTRY = "GLOSS_TUNE_OPTUNAHUB"
_IN_CACHE = "github.com/optuna/optunahub-registry/main"
_DIGITS = 16
_NOT_CODE = ("__pycache__", ".git")


def pin_sampler(spec: StudySpec) -> StudySpec:
    """The specification with a sampler of the hub locked to the code on this machine, which is tried; else as it is.

    Raises:
        InputError: there is no such sampler here, it cannot be loaded, or its code is not that which is asked for.
    """
    asked = hub_name(spec.sampler)
    if asked is None:
        return spec
    digest = _checked(asked)
    pinned = HubName(asked.name, asked.kind, digest)
    build_hub_sampler(str(pinned), 0)
    return spec.model_copy(update={"sampler": str(pinned)})


def build_hub_sampler(sampler: str, seed: int) -> BaseSampler:
    """A sampler of the hub.

    Args:
        sampler: as a study keeps it.
        seed: of its draws, where it takes one.

    Raises:
        InputError: see :func:`pin_sampler`.
    """
    kind = _kind(sampler)
    takes = inspect.signature(kind).parameters
    needed = [
        name
        for name, parameter in takes.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise InputError(
            f"A sampler of the hub must be made without arguments, got {kind.__name__} of {sampler!r}, which needs "
            f"{', '.join(needed)}; choose another one"
        )
    try:
        made: BaseSampler = kind(**({"seed": seed} if "seed" in takes else {}))
    except Exception as error:  # code of others, which may fail in any way
        raise InputError(f"Sampler {sampler!r} cannot be made: {type(error).__name__}: {error}") from error
    return HubSampler(made)


class HubSampler(WrappedSampler):
    """Calls another sampler as ``Study.ask`` does: it may prepare a trial, and search a part of the space together.

    Args:
        inner: of the hub.
    """

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Nothing: the inner sampler prepares a trial when it draws, as often as it draws."""

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What the inner sampler draws together."""
        self._inner.before_trial(study, trial)
        together = self._inner.infer_relative_search_space(study, trial)
        space = {name: search_space[name] for name in together if name in search_space}
        return self._inner.sample_relative(study, trial, space)


@functools.lru_cache(maxsize=8)
def _kind(sampler: str) -> type[BaseSampler]:
    """The class; its code is read, and compared, once a process."""
    asked = hub_name(sampler)
    assert asked is not None
    _checked(asked)
    root = _registry(asked)
    try:
        optunahub = importlib.import_module("optunahub")
    except ImportError as error:
        raise InputError(
            f"Sampler {sampler!r} is loaded by the package optunahub ({error}); pip install optunahub, here and on "
            "every machine with workers"
        ) from None
    try:
        module = optunahub.load_local_module(asked.package, registry_root=str(root))
    except Exception as error:  # code of others, which may fail in any way
        raise InputError(
            f"Sampler {sampler!r} in {root} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    offered = [getattr(module, name, None) for name in getattr(module, "__all__", None) or vars(module)]
    kinds = {
        one.__name__: one
        for one in offered
        if isinstance(one, type)
        and issubclass(one, BaseSampler)
        and one.__module__.startswith(module.__name__)
    }
    if asked.kind is not None and asked.kind in kinds:
        return kinds[asked.kind]
    if asked.kind is None and len(kinds) == 1:
        return next(iter(kinds.values()))
    raise InputError(
        f"'hub:{asked.name}' has {', '.join(sorted(kinds)) or 'no sampler'}, got {asked.kind or 'no class'}; name one "
        f"of them by hub:{asked.name}:CLASS"
    )


def _checked(asked: HubName) -> str:
    """The digest of the code that is here, which is that which is asked for."""
    digest = _digest(_registry(asked) / asked.package)
    if asked.digest not in (None, digest):
        raise InputError(
            f"Sampler 'hub:{asked.name}' must have the code that the study was made with, {asked.digest}, got {digest} "
            f"in {_registry(asked) / asked.package}; give this machine that version, or make a new study"
        )
    return digest


def _registry(asked: HubName) -> Path:
    """The folder that holds the package of a sampler."""
    named = os.environ.get(REGISTRY)
    roots = [Path(named).expanduser()] if named else [_cache() / _IN_CACHE]
    tried = [place for root in roots for place in (root, root / "package")]
    for place in tried:
        if (place / asked.package / "__init__.py").is_file():
            return place
    raise InputError(
        f"There is no {asked.package}/__init__.py in the OptunaHub registry {roots[0]}; name another folder by "
        f"{REGISTRY}, or fetch it: python -c \"import optunahub; optunahub.load_module('{asked.package}')\""
    )


def _cache() -> Path:
    """Where optunahub keeps what it fetched."""
    named = os.environ.get("OPTUNAHUB_CACHE_HOME")
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(named) if named else Path(home) / "optunahub"


def _digest(folder: Path) -> str:
    """Of the names and contents of all files in a folder, whatever the order or the time."""
    found = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        parts = file.relative_to(folder).parts
        if not any(part in _NOT_CODE for part in parts) and file.suffix != ".pyc":
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            found.update(f"{'/'.join(parts)}\0{content}\n".encode())
    return found.hexdigest()[:_DIGITS]
