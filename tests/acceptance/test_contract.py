"""The command line as its users' scripts rely on it: exit codes, what stdout carries, what is written."""

from __future__ import annotations

import csv
import io
import json
import resource
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.conftest import Commands, until
from tests.conftest import CommandLine
from tests.integration.studies import contents

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COMMANDS = (
    "create",
    "worker",
    "run",
    "status",
    "trials",
    "export",
    "confirm",
    "retrain",
    "predict",
    "launch",
    "datasets",
    "dashboard",
    "demo",
)
REHEARSAL = ("--dataset", "mr", "--rehearse")


@pytest.fixture
def here(commands: Commands) -> Commands:
    """Commands on an SQLite file in an empty folder."""
    commands.storage = f"sqlite:///{commands.folder}/study.db"
    return commands


@pytest.fixture
def finished(here: Commands) -> Commands:
    """A finished study of four trials."""
    here("create", *REHEARSAL, "--trials", 4, "--pruner", "none", "--seed", 3)
    here("worker")
    return here


def documents(header: str) -> str:
    """Sixty documents of two classes."""
    return "\n".join([header, *(f"a film number {i},{i % 2}" for i in range(60)), ""])


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# ── help ──


def test_help_needs_neither_torch_nor_optuna() -> None:
    script = """
import json, sys
from gloss_tune.cli import main
heavy = {"torch", "optuna", "numpy", "pandas", "sqlalchemy", "sklearn", "transformers", "sentence_transformers"}
for command in [[], *([c] for c in sys.argv[1:]), ["datasets", "list"], ["datasets", "show"], ["datasets", "fetch"]]:
    sys.argv = ["gloss-tune", *command, "--help"]
    try:
        main()
    except SystemExit as leaving:
        assert not leaving.code, (command, leaving.code)
    assert not heavy & sys.modules.keys(), (command, heavy & sys.modules.keys())
"""
    done = subprocess.run(
        [sys.executable, "-c", script, *COMMANDS], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert f"Usage: gloss-tune {command}" in done.stdout
    assert done.stderr == ""


def test_help_answers_within_half_a_second_of_computing() -> None:
    """Processor time, so that other load does not count; the best of three."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "gloss_tune", "worker", "--help"], capture_output=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5, seconds


def test_the_first_screen_names_every_command(here: Commands) -> None:
    shown = here("--help").stdout
    for command in COMMANDS:
        assert command in shown
    assert here("--version").stdout.startswith("gloss-tune ")


# ── from a fresh process to the export ──


def test_create_work_look_and_export_from_fresh_processes(
    gloss_tune_cli: CommandLine, tmp_path: Path
) -> None:
    """The same as users type it, imports and all."""
    url = f"sqlite:///{tmp_path}/study.db"
    made = gloss_tune_cli("create", *REHEARSAL, "--trials", 3, "--storage", url)
    assert made.stdout == "mr-all-minilm-l6-v2-gloss-rehearsal\n"
    worked = gloss_tune_cli("worker", env={"GLOSS_TUNE_STORAGE": url})
    assert worked.stdout == ""
    assert "Warning" not in worked.stderr
    exported = json.loads(gloss_tune_cli("export", "--storage", url).stdout)
    assert sum(exported["trials"][state] for state in ("complete", "pruned")) == 3


# ── wrong input ──

WRONG_CREATIONS: dict[str, tuple[str, ...]] = {
    "no data set": ("--rehearse",),
    "an unknown option": (*REHEARSAL, "--colour", "red"),
    "an argument too many": (*REHEARSAL, "mr"),
    "a data set that is not there": ("--dataset", "no/such/folder"),
    "a name that no file can have": ("--dataset", "x" * 300),
    "data without the text column": ("--dataset", "bad.csv"),
    "data without the named column": ("--dataset", "good.csv", "--label-column", "kind"),
    "an encoder that is not there": ("--dataset", "good.csv", "--model", "./no-such-encoder"),
    "an encoder that is a file": ("--dataset", "good.csv", "--model", "good.csv"),
    "an encoder's name that no file can have": ("--dataset", "good.csv", "--model", "x" * 300),
    "fewer documents than there are classes": ("--dataset", "good.csv", "--max-train-docs", "1"),
    "an unknown loss": (*REHEARSAL, "--loss", "hinge"),
    "an unknown sampler": (*REHEARSAL, "--sampler", "cmaes"),
    "no trials": (*REHEARSAL, "--trials", "0"),
    "trials in words": (*REHEARSAL, "--trials", "ten"),
    "a lease too short": (*REHEARSAL, "--lease", "0.5"),
    "a lease that is no number": (*REHEARSAL, "--lease", "nan"),
    "a negative seed": (*REHEARSAL, "--seed", "-1"),
    "no epochs": (*REHEARSAL, "--epochs", "0"),
    "a batch of one": (*REHEARSAL, "--batch-size", "1"),
    "an unknown field": (*REHEARSAL, "--set", "colour=red"),
    "an assignment without =": (*REHEARSAL, "--set", "trials"),
    "an unknown hyperparameter": (*REHEARSAL, "--set", "space.depth={}"),
    "bounds the wrong way round": (*REHEARSAL, "--set", "space.temperature.low=3"),
    "a fixed value out of range": (*REHEARSAL, "--set", "train.mask_ratio=1.5"),
    "a hyperparameter that is not used": (*REHEARSAL, "--loss", "ce", "--set", "train.temperature=0.5"),
    "an endless grid": (*REHEARSAL, "--sampler", "grid", "--set", "space.mask_ratio.points=1000000000"),
    "a step that is no number": (*REHEARSAL, "--set", "space.lpa_iterations.step=x"),
    "a value nested too deep": (*REHEARSAL, "--set", "trials=" + "[" * 4000),
    "a study's name with a slash": (*REHEARSAL, "--study", "a/b"),
    "a study's name that leaves the folder": (*REHEARSAL, "--study", ".."),
    "a specification that is not there": (*REHEARSAL, "--spec", "missing.toml"),
    "a specification that is no TOML": (*REHEARSAL, "--spec", "broken.toml"),
    "a specification that is a folder": (*REHEARSAL, "--spec", "folder"),
    "a storage that is no URL": (*REHEARSAL, "--storage", "study.db"),
    "a storage in memory": (*REHEARSAL, "--storage", "sqlite://"),
    "a storage of another kind": (*REHEARSAL, "--storage", "mysql://me@host/db"),
    "a storage in a missing folder": (*REHEARSAL, "--storage", "sqlite:///missing/study.db"),
    "a storage that is a folder": (*REHEARSAL, "--storage", "sqlite:///folder"),
    "a storage that is a text": (*REHEARSAL, "--storage", "sqlite:///broken.toml"),
    "a storage with two slashes": (*REHEARSAL, "--storage", "sqlite://folder/study.db"),
    "a format that is none": (*REHEARSAL, "--format", "xml"),
}
WRONG_READINGS: dict[str, tuple[str, ...]] = {
    "an unknown command": ("reap-all",),
    "status of no storage": ("status",),
    "trials of no storage": ("trials",),
    "export of no storage": ("export",),
    "work on no storage": ("worker",),
    "a dashboard of no storage": ("dashboard", "--port", "0"),
    "limits of nothing": ("worker", "--max-trials", "0"),
    "a negative timeout": ("worker", "--timeout", "-1"),
    "parquet on stdout": ("trials", "--format", "parquet"),
    "an unknown data set": ("datasets", "show", "no/such/data"),
    "an unknown sub-command": ("datasets", "delete"),
}


def check_refusals(commands: Commands, tables: dict[str, list[str]]) -> None:
    processes = {what: commands.start(*arguments) for what, arguments in tables.items()}
    faults = {}
    for what, process in processes.items():
        code = process.wait(60)
        message = process.stderr.strip()
        if code != 2 or "Traceback" in message or not message or process.stdout:
            faults[what] = (code, process.stdout[-300:], message[-600:])
    assert faults == {}


def test_a_wrong_creation_is_refused_and_writes_nothing(commands: Commands) -> None:
    (commands.folder / "broken.toml").write_text("a = [\n" * 20)
    (commands.folder / "folder").mkdir()
    for name, header in (("good", "text,label"), ("bad", "title,label")):
        (commands.folder / f"{name}.csv").write_text(documents(header))
    before = files(commands.folder)
    check_refusals(commands, {what: ["create", *arguments] for what, arguments in WRONG_CREATIONS.items()})
    assert files(commands.folder) == before
    assert list((commands.folder / "folder").iterdir()) == []


def test_a_wrong_reading_is_refused_and_writes_nothing(commands: Commands) -> None:
    check_refusals(commands, {what: list(arguments) for what, arguments in WRONG_READINGS.items()})
    assert list(commands.folder.iterdir()) == []


def test_wrong_input_on_a_study_changes_nothing(finished: Commands) -> None:
    assert finished.storage is not None
    before = contents(finished.storage)
    check_refusals(
        finished,
        {
            "a study that is not there": ["status", "--study", "other"],
            "work on a study that is not there": ["worker", "--study", "other"],
            "another specification": [
                "create",
                *REHEARSAL,
                "--trials",
                "5",
                "--pruner",
                "none",
                "--seed",
                "3",
            ],
            "an output in a missing folder": ["export", "--output", "missing/best.json"],
            "an output that is a folder": ["export", "--output", "."],
            "a table in a file": ["trials", "--output", "table.txt"],
            "a port that is taken by nobody's right": ["dashboard", "--port", "70000"],
            "a host that is not ours": ["dashboard", "--host", "192.0.2.1", "--port", "0"],
        },
    )
    assert contents(finished.storage) == before


def test_another_specification_is_refused_by_the_names_of_its_fields(here: Commands) -> None:
    here("create", *REHEARSAL, "--trials", 4)
    refused = here(
        "create", *REHEARSAL, "--trials", 5, "--epochs", 3, "--set", "space.temperature.high=1.0", exit_code=2
    )
    for field in ("trials", "train.epochs", "space.temperature.high"):
        assert f"  {field}: " in refused.stderr
    assert "space.temperature.low" not in refused.stderr


def test_all_faults_are_told_at_once(here: Commands) -> None:
    refused = here(
        "create",
        *REHEARSAL,
        "--loss",
        "hinge",
        "--trials",
        0,
        "--set",
        "train.depth=3",
        "--set",
        "space.x={}",
        exit_code=2,
    )
    for key in ("loss:", "trials:", "train.depth:", "space.x:"):
        assert key in refused.stderr


# ── create ──


def test_creating_again_is_a_no_op(here: Commands) -> None:
    first = here.json("create", *REHEARSAL, "--trials", 4)
    assert (first["created"], first["trials"]) == (True, 4)
    assert here.storage is not None
    before = contents(here.storage)
    again = here.json("create", *REHEARSAL, "--trials", 4)
    assert (again["created"], again["study"]) == (False, first["study"])
    here("worker")
    after_work = contents(here.storage)
    assert not here.json("create", *REHEARSAL, "--trials", 4)["created"]
    assert contents(here.storage) == after_work != before


def test_a_dry_run_prints_a_specification_of_the_same_study_and_writes_nothing(here: Commands) -> None:
    options = (*REHEARSAL, "--trials", 4, "--loss", "scl", "--epochs", 3, "--set", "space.batch_size={}")
    printed = here("create", *options, "--dry-run").stdout
    as_json = here.json("create", *options, "--dry-run")
    assert list(here.folder.iterdir()) == []
    parsed = tomllib.loads(printed)
    assert parsed == {key: value for key, value in as_json.items() if value is not None}
    (here.folder / "printed.toml").write_text(printed)
    assert here.json("create", *options)["created"]
    assert not here.json("create", "--spec", "printed.toml")["created"]


def test_options_win_over_the_file_and_assignments_over_options(here: Commands) -> None:
    (here.folder / "study.toml").write_text(
        'dataset = "mr"\nrehearse = true\ntrials = 9\nseed = 1\n[train]\nepochs = 4\n[space.temperature]\nlow = 0.5\n'
    )
    spec = here.json("create", "--spec", "study.toml", "--trials", 7, "--epochs", 5, "--set", "seed=2", "--set",
                     "train.epochs=6", "--dry-run")  # fmt: skip
    assert (spec["trials"], spec["seed"], spec["train"]["epochs"]) == (7, 2, 6)
    assert spec["space"]["temperature"]["low"] == 0.5


def test_the_environment_names_storage_and_study_and_options_win(here: Commands) -> None:
    here("create", *REHEARSAL, "--study", "one", "--trials", 2)
    here("create", *REHEARSAL, "--study", "two", "--trials", 3)
    assert here.json("status", env={"GLOSS_TUNE_STUDY": "two"})["trials"]["budget"] == 3
    assert here.json("status", "--study", "one", env={"GLOSS_TUNE_STUDY": "two"})["trials"]["budget"] == 2
    refused = here("status", exit_code=2)
    assert "one, two" in refused.stderr
    elsewhere = f"sqlite:///{here.folder}/elsewhere.db"
    here("create", *REHEARSAL, "--trials", 4, "--storage", elsewhere)
    assert here.json("status", "--storage", elsewhere)["trials"]["budget"] == 4


def test_the_default_storage_lies_in_the_current_folder(commands: Commands) -> None:
    commands("create", *REHEARSAL, "--trials", 2)
    assert (commands.folder / "gloss-tune.db").is_file()
    assert commands.json("status")["trials"]["budget"] == 2


# ── reading ──


def test_stdout_carries_data_and_nothing_else(finished: Commands) -> None:
    status = finished.json("status")
    assert (status["state"], status["trials"]["complete"]) == ("finished", 4)
    rows = finished.json("trials")
    assert [row["state"] for row in rows] == ["complete"] * 4
    best = max(rows, key=lambda row: row["value"])
    assert (status["best"]["number"], status["best"]["value"]) == (best["number"], best["value"])
    table = list(csv.DictReader(io.StringIO(finished("trials", "--format", "csv").stdout)))
    assert [float(row["value"]) for row in table] == [row["value"] for row in rows]
    assert [float(row["params_temperature"]) for row in table] == [
        row["params"]["temperature"] for row in rows
    ]
    assert float(table[0]["metrics_val_accuracy"]) == rows[0]["metrics"]["val_accuracy"]
    for command in ("status", "trials"):
        assert finished(command).stderr == ""
    assert finished("status", "--watch").stdout  # a finished study is shown once
    assert finished("worker").stdout == ""


def test_watching_says_each_change_at_once(here: Commands) -> None:
    """Also into a pipe or file, where output is buffered unless flushed."""
    here("create", *REHEARSAL, "--trials", 1)
    watching = here.start("status", "--watch")
    until(lambda: "1 waiting" in watching.stdout, timeout=15)
    here("worker")
    watching.ended(0, timeout=15)
    assert "1 complete" in watching.stdout


def test_data_sets_are_told_as_data(commands: Commands) -> None:
    listed = {row["name"]: row for row in commands.json("datasets", "list")}
    assert listed.keys() == {"mr", "r8", "r52", "ohsumed", "20ng", "stdlib"}
    assert listed.keys() == {row["name"] for row in commands.json("datasets")}
    (commands.folder / "mine.csv").write_text(documents("text,label"))
    shown = commands.json("datasets", "show", "mine.csv")
    assert sum(size or 0 for size in shown["sizes"].values()) == 60
    assert shown["classes"].keys() == {"0", "1"}
    assert shown["fingerprint"]
    assert "mr" in commands("datasets").stdout


def test_parquet(finished: Commands) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    finished("trials", "--format", "parquet", "--output", "trials.parquet")
    frame = pandas.read_parquet(finished.folder / "trials.parquet")
    assert list(frame["number"]) == [0, 1, 2, 3]


def test_every_export_format_says_the_same(finished: Commands) -> None:
    exported: dict[str, Any] = json.loads(finished("export").stdout)
    known = without_none(exported)
    assert tomllib.loads(finished("export", "--format", "toml").stdout) == known
    assert without_none(yaml.safe_load(finished("export", "--format", "yaml").stdout)) == known
    finished("export", "--output", "best.json")
    assert json.loads((finished.folder / "best.json").read_text()) == exported
    assert sorted(p.name for p in finished.folder.iterdir() if "best" in p.name) == ["best.json"]


def without_none(data: Any) -> Any:
    return {k: without_none(v) for k, v in data.items() if v is not None} if isinstance(data, dict) else data


def test_exported_arguments_repeat_the_best_trial_to_the_last_bit(finished: Commands) -> None:
    best = json.loads(finished("export").stdout)["best"]
    arguments = shlex.split(finished("export", "--format", "args").stdout)
    elsewhere = f"sqlite:///{finished.folder}/again.db"
    finished("create", *REHEARSAL, *arguments, "--storage", elsewhere)
    finished("worker", "--storage", elsewhere)
    (row,) = finished.json("trials", "--storage", elsewhere)
    assert row["value"] == best["value"]
    assert row["metrics"] == best["metrics"]


def test_nothing_to_export_is_a_failure_not_a_mistake(here: Commands) -> None:
    here("create", *REHEARSAL, "--trials", 2)
    empty = here("export", exit_code=1)
    assert empty.stdout == ""
    assert "no complete trial yet" in empty.stderr
    here("export", "--output", "best.json", exit_code=1)
    assert not (here.folder / "best.json").exists()


def test_run_does_it_all(here: Commands) -> None:
    exported = json.loads(here("run", *REHEARSAL, "--trials", 3, "--pruner", "none").stdout)
    assert exported["trials"]["complete"] == 3
    again = json.loads(here("run", *REHEARSAL, "--trials", 3, "--pruner", "none").stdout)
    assert again == exported


def test_a_reader_that_leaves_early_is_no_error(finished: Commands) -> None:
    process = subprocess.run(
        f"{shlex.quote(sys.executable)} -m gloss_tune trials --format json --storage {finished.storage} | head -c 5",
        shell=True, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert process.stdout
    assert "Traceback" not in process.stderr
    assert "Exception ignored" not in process.stderr


def test_files_of_other_alphabets_and_spaces(commands: Commands) -> None:
    folder = commands.folder / "mes données"
    folder.mkdir()
    storage = f"sqlite:///{folder}/étude {{1}}.db"
    commands("create", *REHEARSAL, "--trials", 1, "--storage", storage)
    commands("worker", "--storage", storage)
    assert commands.json("status", "--storage", storage)["state"] == "finished"
