"""A device that fails for good, or for once, under each command: real processes whose device layer is spoilt."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CommandLine
from tests.integration.test_retrain import write_data
from tests.unit.finetune.tiny import write_encoder

pytestmark = pytest.mark.timeout(300)

ILLEGAL = "CUDA error: an illegal memory access was encountered"
ASSERT = "CUDA error: device-side assert triggered"
CUBLAS = "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(handle, …)`"
SHORTAGE = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"

# As Python imports it at its start: the encoder's FAULT_AT-th pass in a process (or its load) fails, FAULT_TIMES in all
SPOILER = """
import importlib.abc, importlib.util, os, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "gloss_tune.encoder.model":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (load(module), spoil(module.Encoder))
        return spec

def ticket():
    for number in range(int(os.environ["FAULT_TIMES"])):
        try:
            os.close(os.open(os.path.join(os.environ["FAULT_FOLDER"], str(number)), os.O_CREAT | os.O_EXCL))
            return True
        except FileExistsError:
            pass
    return False

def fail():
    import torch
    error = getattr(torch, os.environ.get("FAULT_KIND", ""), RuntimeError)
    raise error(os.environ["FAULT_SAYS"])

def spoil(Encoder):
    at, calls = os.environ["FAULT_AT"], [0]
    load, embed = Encoder.load, Encoder.embed

    def spoilt_load(*arguments, **options):
        if at == "load" and ticket():
            fail()
        return load(*arguments, **options)

    def spoilt_embed(self, *arguments):
        calls[0] += 1
        if at != "load" and calls[0] >= int(at) and ticket():
            fail()
        return embed(self, *arguments)

    Encoder.load, Encoder.embed = staticmethod(spoilt_load), spoilt_embed

if "FAULT_AT" in os.environ:
    sys.meta_path.insert(0, Finder())
"""


class Place:
    """A folder with data, an encoder and a study; commands run in it."""

    def __init__(self, folder: Path, run: CommandLine) -> None:
        self.folder = folder
        self._run = run
        self.common = {
            "GLOSS_TUNE_STORAGE": f"sqlite:///{folder}/study.db",
            "GLOSS_TUNE_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }

    def __call__(self, *arguments: object, exit_code: int = 0, **fault: object) -> str:
        """Run a command; ``fault`` says where the device fails, how often, and with what words.

        Returns:
            What it wrote to stderr, in which no traceback may be.
        """
        env = dict(self.common)
        if fault:
            tickets = self.folder / f"tickets-{len(list(self.folder.glob('tickets-*')))}"
            tickets.mkdir()
            spoiler = self.folder / "spoiler"
            spoiler.mkdir(exist_ok=True)
            (spoiler / "sitecustomize.py").write_text(SPOILER)
            env |= {f"FAULT_{name.upper()}": str(value) for name, value in fault.items()}
            env.setdefault("FAULT_TIMES", "1")
            env["FAULT_FOLDER"] = str(tickets)
            env["PYTHONPATH"] = os.pathsep.join([str(spoiler), str(Path(__file__).parents[2])])
        done = self._run(*arguments, cwd=self.folder, env=env, exit_code=exit_code, timeout=200)
        if fault:
            assert any(tickets.iterdir()), "the fault did not come up"
        assert "Traceback" not in done.stderr
        return done.stderr

    def trials(self) -> dict[str, int]:
        done = self._run("status", "--format", "json", cwd=self.folder, env=self.common)
        found: dict[str, Any] = json.loads(done.stdout)
        assert found["workers"] == []
        return {state: count for state, count in found["trials"].items() if count and state != "budget"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    write_data(folder / "words", {"train": 40, "val": 16, "test": 16})
    write_encoder(folder / "encoder")
    return folder


@pytest.fixture
def place(prepared: Path, tmp_path: Path, gloss_tune_cli: CommandLine) -> Place:
    folder = tmp_path / "place"
    shutil.copytree(prepared, folder)
    return Place(folder, gloss_tune_cli)


SPEC = (
    "--dataset", "words", "--data-dir", ".", "--model", "./encoder", "--trials", 2, "--pruner", "none", "--epochs", 2,
    "--batch-size", 8, "--max-length", 16, "--set", "train.precision=float32",
)  # fmt: skip
WORKER = ("--device", "cpu", "--threads", 1, "--data-dir", ".")


def create(place: Place) -> None:
    place("create", "--study", "study", *SPEC)


@pytest.mark.parametrize(
    ("says", "kind"),
    [
        (ILLEGAL, "AcceleratorError"),
        pytest.param(ASSERT, "", marks=pytest.mark.slow),
        pytest.param(CUBLAS, "", marks=pytest.mark.slow),
    ],
)
def test_a_worker_leaves_and_its_trial_goes_on_elsewhere(place: Place, says: str, kind: str) -> None:
    create(place)
    told = place("worker", *WORKER, exit_code=1, at=9, says=says, kind=kind)
    assert says[:40] in told
    assert "anew" in told
    assert place.trials() == {"waiting": 2}
    place("worker", *WORKER)
    assert place.trials() == {"complete": 2}


@pytest.mark.slow
def test_launch_starts_workers_anew_and_finishes(place: Place) -> None:
    create(place)
    told = place("launch", "--workers", 1, *WORKER, at=9, times=2, says=ILLEGAL)
    assert ILLEGAL in told
    assert place.trials() == {"complete": 2}


@pytest.mark.slow
def test_a_device_that_stays_dead_ends_the_group_and_fails_no_trial(place: Place) -> None:
    create(place)
    told = place("launch", "--workers", 1, *WORKER, exit_code=1, at=1, times=99, says=ILLEGAL)
    assert "died 5 times" in told
    assert place.trials() == {"waiting": 2}


@pytest.mark.slow
def test_memory_that_others_have_is_found_missing_before_a_trial(place: Place) -> None:
    create(place)
    told = place(
        "worker", *WORKER, exit_code=1, at="load", says="CUDA out of memory.", kind="OutOfMemoryError"
    )
    assert "free memory of cpu" in told
    assert place.trials() == {"waiting": 2}


@pytest.mark.slow
def test_a_shortage_in_a_library_is_a_shortage(place: Place) -> None:
    """Smaller chunks mend it; the device is not lost."""
    create(place)
    told = place("worker", *WORKER, at=9, says=SHORTAGE)
    assert "Out of memory in" in told
    assert place.trials() == {"complete": 2}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_comes_after_a_study_says_so_and_writes_nothing(place: Place) -> None:
    create(place)
    place("worker", *WORKER)
    for at, says in [(9, ILLEGAL), ("load", "CUDA out of memory."), (1, ASSERT)]:
        told = place("retrain", "--output", "model", *WORKER, exit_code=1, at=at, says=says)
        assert says[:30] in told
        assert not (place.folder / "model").exists()
    place("retrain", "--output", "model", *WORKER)
    for at, says in [(1, CUBLAS), ("load", "CUDA out of memory.")]:
        predict = ("predict", "--model", "model", "words/test.csv", "--device", "cpu")
        told = place(*predict, "--output", "predictions.csv", exit_code=1, at=at, says=says)
        assert says[:30] in told
        assert not (place.folder / "predictions.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "confirm"])
def test_a_worker_in_the_commands_own_process_says_what_to_do(place: Place, command: str) -> None:
    """Its device is gone for this process; the same command, repeated, goes on."""
    if command == "run":
        arguments: tuple[object, ...] = ("run", "--study", "study", *SPEC, *WORKER[:4])
    else:
        create(place)
        place("worker", *WORKER)
        arguments = ("confirm", "--top", 1, "--seeds", 2, *WORKER)
    told = place(*arguments, exit_code=1, at=12, says=ILLEGAL)
    assert "Start this command anew" in told
    place(*arguments)
    assert place.trials() == {"complete": 2}
