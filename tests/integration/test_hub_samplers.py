"""Samplers of an OptunaHub registry on this machine: found, locked to their code, refused where that is another."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from gloss_tune.errors import InputError, SpecError, StudyMismatchError
from gloss_tune.signals import StopFlag
from gloss_tune.spec.build import build_spec
from gloss_tune.spec.spec import StudySpec
from gloss_tune.study import hub_sampler
from gloss_tune.study.create import create, try_out
from gloss_tune.study.status import trials
from gloss_tune.workers.worker import WorkerOptions, work
from tests.integration.studies import join, make

pytestmark = [pytest.mark.timeout(60), pytest.mark.prepared]

LOW = '''
import optuna


class LowSampler(optuna.samplers.BaseSampler):
    """Prepared before each trial, as some of the hub's are; draws the learning rate alone, the rest at random."""

    def __init__(self, seed=None):
        self._random = optuna.samplers.RandomSampler(seed=seed)
        self._prepared = False

    def before_trial(self, study, trial):
        self._prepared = True

    def infer_relative_search_space(self, study, trial):
        return {"learning_rate": None}

    def sample_relative(self, study, trial, search_space):
        assert self._prepared
        assert list(search_space) == ["learning_rate"]
        return {"learning_rate": search_space["learning_rate"].low * (1 + trial.number)}

    def sample_independent(self, study, trial, param_name, param_distribution):
        return self._random.sample_independent(study, trial, param_name, param_distribution)


__all__ = ["LowSampler"]
'''


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry with one sampler, and the part of optunahub that loads it (the real one where it is installed)."""
    folder = tmp_path / "registry" / "package" / "samplers" / "low"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(LOW, encoding="utf-8")
    monkeypatch.setenv("GLOSS_TUNE_OPTUNAHUB", str(tmp_path / "registry"))
    if importlib.util.find_spec("optunahub") is None:
        monkeypatch.setitem(sys.modules, "optunahub", _stub())
    hub_sampler._kind.cache_clear()
    return folder


def _stub() -> types.ModuleType:
    def load_local_module(package: str, *, registry_root: str) -> types.ModuleType:
        spec = importlib.util.spec_from_file_location(
            f"optunahub_registry.package.{package.replace('/', '.')}",
            Path(registry_root) / package / "__init__.py",
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    stub = types.ModuleType("optunahub")
    stub.load_local_module = load_local_module  # type: ignore[attr-defined]
    return stub


def spec_of(sampler: str, **layer: Any) -> StudySpec:
    base = {"dataset": "mr", "rehearse": True, "trials": 4, "lease": 30, "sampler": sampler}
    return build_spec(base, layer)


@pytest.mark.parametrize("name", ["hub:low", "hub:samplers/low", "hub:low:LowSampler"])
def test_a_study_draws_by_it_and_keeps_the_digest_of_its_code(
    storage_url: str, registry: Path, name: str
) -> None:
    opened = make(storage_url, sampler=name)
    kept = opened.spec.sampler
    assert kept.startswith(f"{name}@")
    assert try_out(spec_of(name), None).sampler == kept
    work(opened, WorkerOptions(artifacts=registry), StopFlag())
    found = [row["params"]["learning_rate"] for row in trials(opened)]
    assert found == pytest.approx([1e-6, 2e-6, 3e-6, 4e-6])
    assert len({row["params"]["temperature"] for row in trials(opened)}) == 4


def test_repeating_it_is_a_no_op_and_other_code_is_another_study(storage_url: str, registry: Path) -> None:
    make(storage_url, sampler="hub:low")
    (registry / "__pycache__").mkdir(exist_ok=True)
    (registry / "__pycache__" / "x.pyc").write_bytes(b"compiled")
    assert not create(spec_of("hub:low"), storage_url, "study").is_new
    (registry / "helper.py").write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(
        StudyMismatchError, match=r"sampler: the study has 'hub:low@\w{16}', got 'hub:low@\w{16}'"
    ):
        create(spec_of("hub:low"), storage_url, "study")


def test_a_worker_with_other_code_takes_no_trial(storage_url: str, registry: Path) -> None:
    make(storage_url, sampler="hub:low")
    (registry / "__init__.py").write_text(LOW + "\n# newer\n", encoding="utf-8")
    hub_sampler._kind.cache_clear()
    with pytest.raises(InputError, match="must have the code that the study was made with"):
        work(join(storage_url), WorkerOptions(artifacts=registry), StopFlag())
    assert {row["state"] for row in trials(join(storage_url))} == {"waiting"}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = 1\n", "has no sampler"),
        ("def broken(:\n", "cannot be loaded: SyntaxError"),
        ("import not_there_at_all\n", "not_there_at_all"),
        (LOW.replace("seed=None", "space, seed=None"), "which needs space"),
        (LOW.replace("self._prepared = False", "raise ValueError('no')"), "cannot be made: ValueError: no"),
        (
            LOW.replace('["LowSampler"]', '["LowSampler", "B"]') + "\nclass B(LowSampler): pass\n",
            "hub:low:CLASS",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_before_a_study_is_made(
    storage_url: str, registry: Path, code: str, said: str
) -> None:
    (registry / "__init__.py").write_text(code, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        create(spec_of("hub:low"), storage_url, "study")
    with pytest.raises(InputError):
        join(storage_url, "study")


def test_a_sampler_that_is_not_there_is_refused_with_the_place_and_a_way(
    storage_url: str, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        InputError, match=r"no samplers/other/__init__.py in the OptunaHub registry .*load_module"
    ):
        create(spec_of("hub:other"), storage_url, "study")
    monkeypatch.delenv("GLOSS_TUNE_OPTUNAHUB")
    monkeypatch.setenv("OPTUNAHUB_CACHE_HOME", str(registry / "nowhere"))
    with pytest.raises(InputError, match=r"nowhere/github\.com/optuna/optunahub-registry/main"):
        create(spec_of("hub:low"), storage_url, "study")


def test_without_the_package_it_is_named(
    storage_url: str, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optunahub", None)
    with pytest.raises(InputError, match="pip install optunahub"):
        create(spec_of("hub:low"), storage_url, "study")


@pytest.mark.parametrize(
    "name", ["hub:", "hub:../x", "hub:/etc", "hub:a/../b", "cmaes", "", "TPE", "hub:x@12"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match=r"sampler: input should be 'tpe', .* or 'hub:NAME'"):
        spec_of(name)
