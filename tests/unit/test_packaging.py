"""What `pip install gloss-tune` brings, read from a wheel and a source archive built here, offline."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import gloss_tune

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = ("dev", "offline", "parquet", "postgres", "report", "tensorboard")  # what `make setup` installs
OTHERS = ("hub", "mlflow", "ray", "server", "wandb")  # large, or with "dev"; tried by hand


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    answer = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder), "-t", "wheel", "-t", "sdist"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(archives: Path) -> dict[str, str]:
    """Every file of the wheel with its text."""
    [path] = archives.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode("utf-8") for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(wheel: dict[str, str]) -> Message:
    [text] = [text for name, text in wheel.items() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(text)


def test_every_study_specification_is_inside(wheel: dict[str, str]) -> None:
    in_repository = {
        path.relative_to(REPOSITORY / "studies").as_posix(): path.read_text(encoding="utf-8")
        for path in REPOSITORY.glob("studies/**/*.*")
    }
    prefix = "gloss_tune/studies/"
    in_wheel = {name.removeprefix(prefix): text for name, text in wheel.items() if name.startswith(prefix)}
    assert in_repository
    assert in_wheel == in_repository


def test_every_module_is_inside_and_nothing_else(wheel: dict[str, str]) -> None:
    modules = {path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("gloss_tune/**/*.py")}
    assert modules <= set(wheel)
    assert {name.split("/")[0] for name in wheel} == {
        "gloss_tune",
        f"gloss_tune-{gloss_tune.__version__}.dist-info",
    }
    assert not [name for name in wheel if "__pycache__" in name or name.endswith(".db")]


def test_types_and_licence_are_inside(wheel: dict[str, str], metadata: Message) -> None:
    assert "gloss_tune/py.typed" in wheel
    assert metadata["License-Expression"] == "MIT"
    [licence] = [text for name, text in wheel.items() if name.endswith("/licenses/LICENSE")]
    assert licence == (REPOSITORY / "LICENSE").read_text(encoding="utf-8")


def test_the_version_is_the_packages_and_stands_in_the_changelog(metadata: Message) -> None:
    assert metadata["Name"] == "gloss-tune"
    assert metadata["Version"] == gloss_tune.__version__
    assert str(Version(gloss_tune.__version__)) == gloss_tune.__version__
    assert gloss_tune.__version__ in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


def test_extras_and_entry_point(wheel: dict[str, str], metadata: Message) -> None:
    assert sorted(metadata.get_all("Provides-Extra", [])) == sorted(EXTRAS + OTHERS)
    [text] = [text for name, text in wheel.items() if name.endswith(".dist-info/entry_points.txt")]
    entries = configparser.ConfigParser()
    entries.read_string(text)
    assert dict(entries["console_scripts"]) == {"gloss-tune": "gloss_tune.__main__:main"}


def test_the_source_archive_builds_the_same_wheel(
    archives: Path, wheel: dict[str, str], tmp_path: Path
) -> None:
    [source] = archives.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        if sys.version_info >= (3, 12):
            archive.extractall(tmp_path, filter="data")
        else:
            archive.extractall(tmp_path)
    [folder] = tmp_path.iterdir()
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path / "dist"), "-t", "wheel"],
        cwd=folder,
        capture_output=True,
        check=True,
    )
    [rebuilt] = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(rebuilt) as archive:
        assert set(archive.namelist()) == set(wheel)


def pins() -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = {}
    for line in (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)  # refuses an address or an option
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def test_constraints_are_exact_and_name_each_package_once_per_python() -> None:
    for name, requirements in pins().items():
        assert all(re.fullmatch(r"==[^=*]+", str(requirement.specifier)) for requirement in requirements), (
            name
        )
        for python in ("3.10", "3.11", "3.13"):
            environment = {"python_version": python, "python_full_version": f"{python}.0"}
            valid = [r for r in requirements if r.marker is None or r.marker.evaluate(environment)]
            assert len(valid) <= 1, f"{name} has two pins on Python {python}"


def test_constraints_meet_the_declared_ranges() -> None:
    for text in [*PROJECT["dependencies"], *(text for name in EXTRAS for text in extras()[name])]:
        declared = Requirement(text)
        for pin in pins().get(canonicalize_name(declared.name), []):
            [version] = [specifier.version for specifier in pin.specifier]
            assert declared.specifier.contains(version), f"{pin} is outside {declared}"


def test_constraints_pin_all_that_the_set_up_installs() -> None:
    pinned = pins()
    queue = [*PROJECT["dependencies"], *(text for name in EXTRAS for text in extras()[name])]
    seen: set[tuple[str, str]] = set()
    missing: set[str] = set()
    while queue:
        requirement = Requirement(queue.pop())
        name = canonicalize_name(requirement.name)
        for extra in ["", *requirement.extras]:
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
            if (name, extra) in seen or not applies:
                continue
            seen.add((name, extra))
            if name not in pinned:
                missing.add(name)
            elif is_the_pinned_one(name, pinned[name]):
                queue += required_by(name, extra)
    # torch's CUDA packages: torch pins them itself, and only its CUDA builds ask for them.
    assert not {name for name in missing if not re.match(r"nvidia-|cuda-|triton$", name)}
    assert len(seen) > len(PROJECT["dependencies"])  # the walk went through the installed packages


def test_every_import_is_declared() -> None:
    declared = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    for name in set(EXTRAS) - {"dev"} | set(OTHERS):
        declared |= {canonicalize_name(Requirement(text).name) for text in extras()[name]}
    providers = packages_distributions() | {"tomli": ["tomli"]}  # not installed where tomllib exists
    imported = set()
    for path in REPOSITORY.glob("gloss_tune/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                imported.add(node.module.split(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"gloss_tune", "tomllib"}
    assert "torch" in foreign  # the walk found something
    assert not {
        name for name in foreign if not declared & {canonicalize_name(p) for p in providers.get(name, [name])}
    }


def extras() -> dict[str, list[str]]:
    declared: dict[str, list[str]] = PROJECT["optional-dependencies"]
    assert sorted(declared) == sorted(EXTRAS + OTHERS)
    return {name: declared[name] for name in EXTRAS + OTHERS}


def is_the_pinned_one(name: str, requirements: list[Requirement]) -> bool:
    """Whether the installed version is a pinned one: another version's needs say nothing about the pins."""
    try:
        version = distribution(name).version
    except PackageNotFoundError:
        return False
    return any(requirement.specifier.contains(version) for requirement in requirements)


def required_by(name: str, extra: str) -> list[str]:
    """What an installed package asks for on this machine, by itself or for one of its extras."""
    wanted = []
    for requirement in map(Requirement, distribution(name).requires or []):
        marker = requirement.marker
        if marker is None:
            applies = not extra
        elif extra:
            applies = marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})
        else:
            applies = marker.evaluate({"extra": ""})
        if applies:
            requirement.marker = None
            wanted.append(str(requirement))
    return wanted
