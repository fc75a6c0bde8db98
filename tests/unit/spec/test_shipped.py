"""The specifications that come with gloss-tune."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gloss_tune.data import DATASETS
from gloss_tune.errors import SpecError
from gloss_tune.spec.build import build_spec
from gloss_tune.spec.layers import read_toml
from gloss_tune.spec.shipped import find_spec, shipped_specs
from gloss_tune.spec.spec import default_study_name
from gloss_tune.study.study import check_name

SHIPPED = shipped_specs()


def test_there_is_one_for_each_benchmark_and_the_demo() -> None:
    benchmarks = {"mr", "r8", "r52", "ohsumed", "20ng"}
    assert SHIPPED.keys() == {*benchmarks, "demo", *(f"paper/{name}" for name in benchmarks)}


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_valid_and_about_its_own_data_set(name: str) -> None:
    spec = build_spec(read_toml(SHIPPED[name]))
    assert spec.dataset == ("stdlib" if name == "demo" else name.removeprefix("paper/"))
    assert spec.dataset in DATASETS
    assert not spec.rehearse
    assert check_name(default_study_name(spec))


@pytest.mark.parametrize("name", SHIPPED)
def test_it_opens_with_the_command_that_runs_it_and_its_cost(name: str) -> None:
    opening = []
    for line in SHIPPED[name].read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        opening.append(line.lstrip("# "))
    command = next(line for line in opening if "gloss-tune" in line)
    words = shlex.split(command[command.index("gloss-tune") :])
    assert words[1] in ("create", "run", "demo")
    assert words[1] == "demo" or words[words.index("--spec") + 1] in (name, f"studies/{name}.toml")
    assert re.search(r"\b(seconds?|minutes?|hours?)\b", " ".join(opening)), opening


@pytest.mark.parametrize("name", SHIPPED)
def test_its_name_finds_it_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_spec(name) == SHIPPED[name]


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").write_text("trials = 1\n")
    assert find_spec("demo") == Path("demo")


@pytest.mark.parametrize("name", ["missing", "", "x" * 300, "a\0b", "../studies/none.toml", "."])
def test_a_name_of_nothing_lists_what_there_is(name: str) -> None:
    with pytest.raises(SpecError, match=r"mr.*demo|demo.*mr"):
        find_spec(name)
