"""The floors of the house, proved from the imports: a floor imports only from floors below it.

The rules are plain functions over parsed modules, so that a small house built wrong on purpose shows that
each of them can fail.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "gloss_tune"
ROOT = Path(__file__).resolve().parents[2] / PACKAGE

# The first name below the package → its floor. The package itself (its version) lies below, __main__ above.
FLOORS = {
    "": -1,
    **dict.fromkeys(["cgroups", "errors", "idle", "logging", "wording"], 0),
    **dict.fromkeys(
        [
            "atomic",
            "cores",
            "faults",
            "filesystem",
            "jobs",
            "limits",
            "markdown",
            "metrics",
            "processes",
            "seeding",
            "signals",
        ],
        1,
    ),
    **dict.fromkeys(["data", "encoder", "losses", "storage"], 2),
    **dict.fromkeys(["finetune", "queue"], 3),
    "spec": 4,
    "study": 5,
    **dict.fromkeys(["workers", "confirm"], 6),
    **dict.fromkeys(["launch", "clusters", "retrain", "doctor", "report", "catalog", "server"], 7),
    **dict.fromkeys(["paper", "pipeline"], 8),
    **dict.fromkeys(["cli", "api"], 9),
    "__main__": 10,
}
TORCH = {"torch", "sentence_transformers", "transformers"}
LOSSES_MAY_IMPORT = {"torch"}
LOSSES_MAY_IMPORT_LATE = {"sentence_transformers"}  # inside functions, or for types alone
# Each wall of the house: what is true, of which rooms, and what these may import nowhere, early or late.
WALLS = {
    "storage and queue know neither specification nor fine-tune": (
        {"storage", "queue"},
        {f"{PACKAGE}.{room}" for room in ("spec", "finetune", "data", "encoder", "losses")} | TORCH,
    ),
    "what is searched knows neither Optuna nor a database": (
        {"spec"},
        {"optuna", "sqlalchemy", f"{PACKAGE}.storage", f"{PACKAGE}.queue"},
    ),
    "no fine-tune, and nothing that it is made of, knows Optuna or a database": (
        {"finetune", "data", "encoder", "losses"},
        {"optuna", "sqlalchemy", f"{PACKAGE}.storage", f"{PACKAGE}.queue"},
    ),
    "no floor below storage imports Optuna": (
        {room for room, floor in FLOORS.items() if floor < FLOORS["storage"]},
        {"optuna"},
    ),
    "commands and reports see no tensor": ({"cli", "report"}, {"torch"}),
}
# Optuna's private modules are touched by one file, SQL is written on the two floors that are made for it.
PRIVATE_OPTUNA_IN = {f"{PACKAGE}.storage.schema"}
SQL_IN = {"storage", "queue"}
SQL_ALSO_IN = {
    f"{PACKAGE}.doctor.storage": "asks a database that may be nobody's how it is",
    f"{PACKAGE}.cli": "tells a database's trouble in one line",
}
# What these import at once, directly or through each other, must leave these packages out.
LIGHT_ROOMS = {
    "cli": {"torch", "optuna", "sentence_transformers", "transformers", "sklearn"},
    "report": TORCH,
    "storage": TORCH,
    "queue": TORCH,
    "spec": TORCH | {"optuna"},
    **{room: {"torch", "optuna"} for room, floor in FLOORS.items() if 0 <= floor <= 1},
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
    errors: tuple[str, ...] = ()
    named: tuple[tuple[str, int], ...] = ()

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
        tree = ast.parse(source)
        found = tuple(imports_of(tree, package, set(paths)))
        modules[name] = Module(
            name, len(source.splitlines()), found, tuple(public_errors(tree)), tuple(names_in(tree))
        )
    return modules


def names_in(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Strings that are a module's whole name."""
    strings = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    for node in strings:
        if re.fullmatch(rf"{PACKAGE}(\.\w+){{2,}}", str(node.value)):
            yield str(node.value), node.lineno


def public_errors(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            bases = [ast.unparse(base) for base in node.bases]
            if any(base.endswith(("Error", "Exception", "Interrupted")) for base in bases):
                yield node.name


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
                inner = submodule in known or alias.name.startswith("_")
                yield Import(submodule if inner else base, node.lineno, at_once)
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
            if other == module.room != "":
                continue
            if module.name == PACKAGE and not imported.at_once:  # public names, loaded when asked for
                continue
            if FLOORS[other] >= FLOORS[module.room]:
                yield (
                    f"{module.name}:{imported.line} imports {imported.target}: floor {FLOORS[module.room]} "
                    f"may import only from floors below it, not from floor {FLOORS[other]}"
                )


def wall_faults(modules: dict[str, Module]) -> Iterator[str]:
    for module in modules.values():
        for sentence, (rooms, barred) in WALLS.items():
            for imported in module.imports:
                if module.room in rooms and is_within(imported.target, barred):
                    yield f"{module.name}:{imported.line} imports {imported.target}: {sentence}"


def is_within(name: str, packages: Collection[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:end]) in packages for end in range(1, len(parts) + 1))


def private_faults(modules: dict[str, Module]) -> Iterator[str]:
    """Only storage/schema.py touches Optuna's private modules."""
    for module in modules.values():
        for imported in module.imports:
            top, *inner = imported.target.split(".")
            private = top == "optuna" and any(part.startswith("_") for part in inner)
            if private and module.name not in PRIVATE_OPTUNA_IN:
                yield f"{module.name}:{imported.line} imports {imported.target}: only storage/schema.py may"


def sql_faults(modules: dict[str, Module]) -> Iterator[str]:
    """SQL is written in storage and queue."""
    for module in modules.values():
        if module.room in SQL_IN or module.name in SQL_ALSO_IN:
            continue
        for imported in module.imports:
            if imported.target.split(".")[0] == "sqlalchemy":
                yield f"{module.name}:{imported.line} imports {imported.target}: SQL: storage and queue"


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


def sibling_faults(modules: dict[str, Module]) -> Iterator[str]:
    """No command imports a sibling command: what two of them need is a function of a lower floor, or no command."""
    cli = f"{PACKAGE}.cli"
    commands = {imported.target for imported in modules[cli].imports if room_of(imported.target) == "cli"}
    for name in commands & modules.keys():
        for imported in modules[name].imports:
            if imported.target in commands - {name}:
                yield f"{name}:{imported.line} imports {imported.target}: no command imports a sibling command"


def name_faults(modules: dict[str, Module]) -> Iterator[str]:
    """A module that is named in a string, to be imported by another process, is there."""
    for module in modules.values():
        for name, line in module.named:
            if name not in modules:
                yield f"{module.name}:{line} names {name}, and there is no such module"


def error_faults(modules: dict[str, Module]) -> Iterator[str]:
    """Every error that someone else may catch is in errors.py."""
    for module in modules.values():
        if module.name != f"{PACKAGE}.errors":
            for name in module.errors:
                yield f"{module.name}: {name} is an error of its own; the whole tree is drawn in errors.py"


RULES = [
    *(floor_faults, wall_faults, private_faults, sql_faults, losses_faults),
    *(weight_faults, error_faults, sibling_faults, name_faults, size_faults),
]


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
    (floor_faults, "finetune/loop.py", "from ..cli.main import app", "not from floor 9"),
    (floor_faults, "finetune/loop.py", "def f():\n    import gloss_tune.workers", "not from floor 6"),
    (floor_faults, "data/tokens.py", "from gloss_tune import encoder", "not from floor 2"),
    (floor_faults, "report/tables.py", "from gloss_tune.cli import main", "not from floor 9"),
    (floor_faults, "errors.py", "from gloss_tune.seeding import derive_seed", "not from floor 1"),
    (floor_faults, "__init__.py", "from gloss_tune.errors import GlossTuneError", "floor -1 may import only"),
    (floor_faults, "attic.py", "", "has no floor"),
    (wall_faults, "queue/claims.py", "from gloss_tune.data import tokens", "neither specification nor"),
    (wall_faults, "storage/connect.py", "def f():\n    import torch", "neither specification nor"),
    (wall_faults, "finetune/loop.py", "def f():\n    from optuna.trial import Trial", "knows Optuna"),
    (
        wall_faults,
        "data/tokens.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import optuna",
        "knows Optuna",
    ),
    (wall_faults, "spec/spec.py", "def f():\n    import optuna", "neither Optuna nor a database"),
    (wall_faults, "seeding.py", "def f():\n    import optuna", "below storage"),
    (wall_faults, "report/tables.py", "def f():\n    import torch", "no tensor"),
    (private_faults, "study/study.py", "from optuna.storages import _rdb", "only storage/schema.py"),
    (private_faults, "queue/claims.py", "import optuna.storages._rdb.models", "only storage/schema.py"),
    (sql_faults, "study/study.py", "import sqlalchemy.orm", "storage and queue"),
    (losses_faults, "losses/gloss.py", "import numpy", "torch alone"),
    (losses_faults, "losses/gloss.py", "from sentence_transformers import util", "torch alone"),
    (weight_faults, "cli/main.py", "from gloss_tune.finetune import loop", "cli.main loads torch"),
    (weight_faults, "cli/main.py", "from gloss_tune.study import study", "gloss_tune.study → optuna"),
    (weight_faults, "cli/main.py", "try:\n    import optuna\nexcept ImportError:\n    pass", "loads optuna"),
    (weight_faults, "finetune/config.py", "class A:\n    import torch", "finetune.config loads torch"),
    (sibling_faults, "cli/main.py", "from gloss_tune.cli.other import f", "no command imports a sibling"),
    (sibling_faults, "cli/main.py", "def f():\n    from . import other", "no command imports a sibling"),
    (
        name_faults,
        "study/study.py",
        "PRELOAD = ['gloss_tune.study.study', 'gloss_tune.study.gone']",
        "no such module",
    ),
    (error_faults, "study/study.py", "class Odd(ValueError):\n    pass", "errors.py"),
    (size_faults, "metrics.py", "\n" * 351, "351 lines"),
]
RIGHT = [
    ("cli/main.py", "from gloss_tune.report import tables\ndef f():\n    import optuna"),
    ("cli/main.py", "from gloss_tune import __version__"),
    ("cli/main.py", "from gloss_tune.cli import options\nfrom gloss_tune.cli.options import f"),
    ("losses/gloss.py", "import math\nimport torch\ndef f():\n    import sentence_transformers"),
    (
        "finetune/loop.py",
        "import torch\nfrom gloss_tune.finetune.config import X\nfrom . import config\nfrom ..data import tokens",
    ),
    ("study/study.py", "import optuna\nclass _Inner(ValueError):\n    pass"),
    ("storage/schema.py", "import optuna.storages._rdb, sqlalchemy"),
    ("queue/claims.py", "import sqlalchemy\nfrom gloss_tune.storage import schema"),
]


def build(folder: Path, path: str, source: str) -> dict[str, Module]:
    """A house in order but for one file."""
    rooms = (
        "cli/main",
        "cli/other",
        "cli/options",
        "data/tokens",
        "finetune/config",
        "losses/gloss",
        "report/tables",
        "study/study",
    )
    for name in (*rooms, "storage/schema", "queue/claims", "spec/spec"):
        file = folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        (file.parent / "__init__.py").touch()
    for name in ("__init__", "encoder", "errors", "seeding"):
        (folder / f"{name}.py").touch()
    (folder / "study/__init__.py").write_text("import optuna\n")
    (folder / "cli/__init__.py").write_text("def app():\n    from gloss_tune.cli import main, other\n")
    (folder / "finetune/loop.py").write_text("import torch\n")
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
