"""The floors of the house, proved from the imports: a floor imports only from floors below it.

The rules are plain functions over parsed modules, so that a small house built wrong on purpose shows that
each of them can fail.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "gloss_tune"
ROOT = Path(__file__).resolve().parents[2] / PACKAGE

# The first name below the package → its floor. The package itself (its version) lies below, __main__ above.
FLOORS = {
    "": -1,
    **dict.fromkeys(["atomic", "errors", "filesystem", "logging", "processes", "seeding", "wording"], 0),
    **dict.fromkeys(["losses", "metrics"], 1),
    **dict.fromkeys(["data", "encoder"], 2),
    "finetune": 3,
    "study": 4,
    "workers": 5,
    **dict.fromkeys(["cli", "report"], 6),
    "__main__": 7,
}
SAME_FLOOR_ALLOWED = {("cli", "report")}  # the command `report` is the face of that room
OPTUNA_FROM = FLOORS["study"]
LOSSES_MAY_IMPORT = {"torch"}
LOSSES_MAY_IMPORT_LATE = {"sentence_transformers"}  # inside functions, or for types alone
# What these import at once, directly or through each other, must leave these packages out.
LIGHT_ROOMS = {
    "cli": {"torch", "optuna", "sentence_transformers", "transformers", "sklearn"},
    "report": {"torch", "sentence_transformers", "transformers"},
    "atomic": {"torch", "optuna"},
    "errors": {"torch", "optuna"},
    "filesystem": {"torch", "optuna"},
    "seeding": {"torch", "optuna"},
    "logging": {"torch", "optuna"},
    "wording": {"torch", "optuna"},
    "finetune.config": {"torch", "optuna"},
    "finetune.rehearsal": {"torch", "optuna"},
}
MAX_LINES = 350


@dataclass(frozen=True)
class Import:
    """One imported module: absolute name, line, and whether it is loaded at once with its importer."""

    target: str
    line: int
    at_once: bool


@dataclass(frozen=True)
class Module:
    """One parsed module."""

    name: str
    lines: int
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        return room_of(self.name)


def room_of(name: str) -> str:
    return [*name.split("."), ""][1]


def is_ours(name: str) -> bool:
    return name.split(".")[0] == PACKAGE


def parse(root: Path) -> dict[str, Module]:
    """All modules of the package at ``root``, by absolute name."""
    paths = {}
    for path in sorted(root.rglob("*.py")):
        parts = [PACKAGE, *path.relative_to(root).with_suffix("").parts]
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    modules = {}
    for name, path in paths.items():
        source = path.read_text(encoding="utf-8")
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        found = tuple(imports_of(ast.parse(source), package, set(paths)))
        modules[name] = Module(name, len(source.splitlines()), found)
    return modules


def imports_of(tree: ast.AST, package: str, known: set[str], at_once: bool = True) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, at_once)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*anchor, *filter(None, [node.module])])
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                yield Import(submodule if submodule in known else base, node.lineno, at_once)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports_of(node, package, known, at_once=False)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from imports_of(ast.Module([child], []), package, known, at_once=False)
            for child in node.orelse:
                yield from imports_of(ast.Module([child], []), package, known, at_once)
        else:
            yield from imports_of(node, package, known, at_once)


def floor_faults(modules: dict[str, Module]) -> Iterator[str]:
    for module in modules.values():
        if module.room not in FLOORS:
            yield f"{module.name}: has no floor; give '{module.room}' one in this test and in CONTRIBUTING.md"
            continue
        for imported in module.imports:
            other = room_of(imported.target)
            if not is_ours(imported.target) or other not in FLOORS:
                continue
            same_room = other == module.room != ""
            if same_room or (module.room, other) in SAME_FLOOR_ALLOWED:
                continue
            if FLOORS[other] >= FLOORS[module.room]:
                yield (
                    f"{module.name}:{imported.line} imports {imported.target}: floor {FLOORS[module.room]} "
                    f"may import only from floors below it, not from floor {FLOORS[other]}"
                )


def optuna_faults(modules: dict[str, Module]) -> Iterator[str]:
    for module in modules.values():
        for imported in module.imports:
            if imported.target.split(".")[0].startswith("optuna") and FLOORS[module.room] < OPTUNA_FROM:
                yield f"{module.name}:{imported.line} imports {imported.target}: Optuna: study and above"


def losses_faults(modules: dict[str, Module]) -> Iterator[str]:
    for module in modules.values():
        if module.room != "losses":
            continue
        for imported in module.imports:
            top = imported.target.split(".")[0]
            allowed = LOSSES_MAY_IMPORT | (set() if imported.at_once else LOSSES_MAY_IMPORT_LATE)
            if not is_ours(top) and top not in sys.stdlib_module_names and top not in allowed:
                yield f"{module.name}:{imported.line} imports {imported.target}: losses use torch alone"


def weight_faults(modules: dict[str, Module]) -> Iterator[str]:
    for module in modules.values():
        inner_name = module.name.removeprefix(f"{PACKAGE}.")
        for room, heavy in LIGHT_ROOMS.items():
            if inner_name == room or inner_name.startswith(f"{room}."):
                for package, way in loaded_at_once(modules, module.name).items():
                    if package in heavy:
                        yield f"{module.name} loads {package} at import: {' → '.join(way)}"


def loaded_at_once(modules: dict[str, Module], start: str) -> dict[str, tuple[str, ...]]:
    """Every foreign package that importing ``start`` loads, each with the way to it."""
    found: dict[str, tuple[str, ...]] = {}
    seen: set[str] = set()
    queue = [(start, (start,))]
    while queue:
        name, way = queue.pop(0)
        if not is_ours(name):
            found.setdefault(name.split(".")[0], way)
            continue
        if name in seen or name not in modules:
            continue
        seen.add(name)
        parent = name.rpartition(".")[0]  # importing a.b.c also runs a.b and a
        targets = [imported.target for imported in modules[name].imports if imported.at_once]
        queue += [(target, (*way, target)) for target in ([parent] if parent else []) + targets]
    return found


def size_faults(modules: dict[str, Module]) -> Iterator[str]:
    for module in modules.values():
        if module.lines > MAX_LINES:
            yield f"{module.name}: {module.lines} lines; a module is one idea, and at most {MAX_LINES} lines"


RULES = [floor_faults, optuna_faults, losses_faults, weight_faults, size_faults]


@pytest.fixture(scope="module")
def house() -> dict[str, Module]:
    return parse(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__.removesuffix("_faults"))
def test_the_house_keeps_the_rule(rule, house: dict[str, Module]) -> None:
    assert len(house) > len(FLOORS)  # the walk found the package
    assert not list(rule(house))


@pytest.mark.parametrize("package", sorted(path.parent.name for path in ROOT.glob("*/__init__.py")))
def test_public_names_resolve(package: str) -> None:
    module = importlib.import_module(f"{PACKAGE}.{package}")
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    if any(not isinstance(node, ast.Expr) for node in tree.body):
        assert module.__all__, f"{module.__name__} has code, so its __all__ says what is public"
    for name in getattr(module, "__all__", []):
        assert hasattr(module, name), f"{module.__name__}.__all__ names {name}, which does not exist"


# ── the rules themselves: each line of a house built wrong, and the fault that it must raise ──

WRONG = [
    (floor_faults, "finetune/loop.py", "from gloss_tune.study import spec", "floor 3 may import only"),
    (floor_faults, "finetune/loop.py", "from ..cli.main import app", "not from floor 6"),
    (floor_faults, "finetune/loop.py", "def f():\n    import gloss_tune.workers", "not from floor 5"),
    (floor_faults, "data/tokens.py", "from gloss_tune import encoder", "not from floor 2"),
    (floor_faults, "report/tables.py", "from gloss_tune.cli import main", "not from floor 6"),
    (floor_faults, "errors.py", "from gloss_tune.seeding import derive_seed", "not from floor 0"),
    (floor_faults, "__init__.py", "from gloss_tune.errors import GlossTuneError", "floor -1 may import only"),
    (floor_faults, "attic.py", "", "has no floor"),
    (optuna_faults, "finetune/loop.py", "def f():\n    from optuna.trial import Trial", "study and above"),
    (
        optuna_faults,
        "data/tokens.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import optuna",
        "study and above",
    ),
    (losses_faults, "losses/gloss.py", "import numpy", "torch alone"),
    (losses_faults, "losses/gloss.py", "from sentence_transformers import util", "torch alone"),
    (weight_faults, "cli/main.py", "import torch.nn", "cli.main loads torch"),
    (weight_faults, "cli/main.py", "from gloss_tune.study import spec", "gloss_tune.study → optuna"),
    (weight_faults, "cli/main.py", "try:\n    import optuna\nexcept ImportError:\n    pass", "loads optuna"),
    (weight_faults, "finetune/config.py", "class A:\n    import torch", "finetune.config loads torch"),
    (size_faults, "metrics.py", "\n" * 351, "351 lines"),
]
RIGHT = [
    ("cli/main.py", "from gloss_tune.report import tables\ndef f():\n    import torch, optuna"),
    ("cli/main.py", "from gloss_tune import __version__"),
    ("losses/gloss.py", "import math\nimport torch\ndef f():\n    import sentence_transformers"),
    (
        "finetune/loop.py",
        "from gloss_tune.finetune.config import X\nfrom . import config\nfrom ..data import tokens",
    ),
    ("study/spec.py", "import optuna"),
]


def build(folder: Path, path: str, source: str) -> dict[str, Module]:
    """A house in order but for one file."""
    for name in ("cli/main", "data/tokens", "finetune/config", "losses/gloss", "report/tables", "study/spec"):
        file = folder / f"{name}.py"
        file.parent.mkdir(parents=True)
        file.touch()
        (file.parent / "__init__.py").touch()
    for name in ("__init__", "encoder", "errors", "seeding"):
        (folder / f"{name}.py").touch()
    (folder / "study/__init__.py").write_text("import optuna\n")
    (folder / path).write_text(source)
    return parse(folder)


@pytest.mark.parametrize(("rule", "path", "source", "fault"), WRONG)
def test_a_wrong_house_is_found_out(rule, path: str, source: str, fault: str, tmp_path: Path) -> None:
    faults = list(rule(build(tmp_path / PACKAGE, path, source)))
    assert len(faults) == 1
    assert fault in faults[0]


@pytest.mark.parametrize(("path", "source"), RIGHT)
def test_a_right_house_passes(path: str, source: str, tmp_path: Path) -> None:
    modules = build(tmp_path / PACKAGE, path, source)
    assert [fault for rule in RULES for fault in rule(modules)] == []
