"""Every command and option says what it is for; data is rendered so that it can be read back."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from gloss_tune.cli import app, main
from gloss_tune.cli.dashboard import read_only
from gloss_tune.cli.export_formats import ExportFormat, render
from gloss_tune.cli.options import emit, rows_to_json, to_json
from gloss_tune.cli.spec_options import resolve
from gloss_tune.cli.tables import print_table, shown
from gloss_tune.cli.writing import write_whole
from gloss_tune.errors import InputError, SpecError

ROOT = typer.main.get_command(app)


def walk(command: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found = [(path, command)] if path else []
    for name, inner in getattr(command, "commands", {}).items():
        found += walk(inner, (*path, name))
    return found


COMMANDS = {" ".join(path): command for path, command in walk(ROOT)}


def test_the_commands_of_the_contract_are_there() -> None:
    assert COMMANDS.keys() >= {
        "create", "worker", "launch", "run", "status", "reap", "doctor", "trials", "export", "confirm", "retrain",
        "predict", "dashboard", "demo", "datasets", "datasets list", "datasets show", "datasets fetch",
        "extend", "enqueue",
        "studies", "studies list", "studies copy", "studies rename", "studies delete", "studies prune",
        "storage", "storage serve", "storage backup", "storage restore", "storage move",
    }  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_what_it_does_and_its_options_what_they_mean(name: str) -> None:
    command = COMMANDS[name]
    assert len((command.help or "").split()) >= 3
    for parameter in command.params:
        if "--help" in parameter.opts:
            continue
        assert len((getattr(parameter, "help", None) or "").split()) >= 3, parameter.opts


@pytest.mark.parametrize(
    "name", [name for name in COMMANDS if name not in ("datasets", "studies", "storage", "demo")]
)
def test_a_command_shows_an_example_of_itself(name: str) -> None:
    text = " ".join((COMMANDS[name].help or "").split())
    assert f"Example: gloss-tune {name}" in text


OPTIONS = {
    "create": "--dataset --study --model --loss --trials --metric --sampler --pruner --epochs --batch-size "
    "--max-length --seed --spec --set --max-train-docs --rehearse --rehearse-seconds --lease --max-failures --keep "
    "--dry-run --storage --data-dir --format",
    "run": "--dataset --study --loss --trials --set --storage --data-dir --device --workers --grace --output",
    "worker": "--max-trials --timeout --grace --device --storage --study --data-dir --artifacts",
    "launch": "--workers --workers-per-device --device --threads --max-trials --timeout --grace --storage --study "
    "--data-dir --artifacts",
    "extend": "--trials --token --storage --study --format",
    "enqueue": "--token --storage --study --format",
    "studies list": "--storage --artifacts --format",
    "studies delete": "--yes --force --storage --artifacts",
    "storage serve": "--dir --listen --port --allow --url-file --max-connections --background --stop --force",
    "storage backup": "--storage --overwrite",
    "storage restore": "--storage --overwrite",
    "storage move": "--study --delete-source --force",
    "reap": "--all --failed --storage --study --format",
    "doctor": "--storage --study --data-dir --artifacts --device --threads --format",
    "status": "--watch --storage --study --artifacts --format",
    "trials": "--storage --study --format --output",
    "export": "--storage --study --trial --unconfirmed --format --output",
    "confirm": "--top --seeds --queue-only --workers --device --grace --storage --study --data-dir "
    "--artifacts --format",
    "retrain": "--output --trial --confirmed --seeds --storage --study --data-dir --device --threads --format",
    "predict": "--model --text-column --format --output --device --threads",
    "dashboard": "--storage --writable --port",
    "datasets list": "--data-dir --format",
    "datasets show": "--data-dir --format",
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_options_of_the_contract_are_there(name: str) -> None:
    there = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert set(OPTIONS[name].split()) <= there


@pytest.mark.parametrize(
    ("option", "variable"),
    [("--storage", "GLOSS_TUNE_STORAGE"), ("--study", "GLOSS_TUNE_STUDY"), ("--data-dir", "GLOSS_TUNE_DATA")],
)
def test_an_option_has_the_same_variable_everywhere(option: str, variable: str) -> None:
    found = [p.envvar for c in COMMANDS.values() for p in c.params if option in p.opts]
    assert found
    assert set(found) == {variable}


# ── layers from the command line ──


def test_file_options_and_assignments_in_this_order(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text('dataset = "mr"\ntrials = 2\nseed = 2\nlease = 20\n')
    spec = resolve(str(path), {"seed": 3, "lease": 30}, ["lease=40"])
    assert (spec.trials, spec.seed, spec.lease) == (2, 3, 40)


def test_faults_of_all_assignments_come_together() -> None:
    with pytest.raises(SpecError) as caught:
        resolve(None, {"dataset": "mr"}, ["space.temperature.low=-1", "train.depth=1"])
    assert len(caught.value.faults) == 2


# ── rendering ──

EXPORTED: dict[str, Any] = {
    "study": "größe",
    "dataset": {"name": "mr", "fingerprint": None},
    "model": "a/b",
    "loss": "gloss",
    "mode": "integrated",
    "metric": "val_accuracy",
    "seed": 3,
    "best": {
        "number": 4,
        "value": 0.1 + 0.2,
        "params": {
            "learning_rate": 1e-05,
            "lpa_iterations": 7,
            "normalization": "random_walk",
            "temperature": 1 / 3,
        },
        "metrics": {"val_accuracy": 0.1 + 0.2},
    },
}


def test_json_holds_no_numbers_that_json_cannot_hold() -> None:
    text = to_json({"a": math.nan, "b": [math.inf, {"c": -math.inf}], "d": (1, 2.5), "e": "ü"})
    assert json.loads(text) == {"a": None, "b": [None, {"c": None}], "d": [1, 2.5], "e": "ü"}
    assert "NaN" not in text
    assert "Infinity" not in text
    assert "ü" in text


def test_rows_of_json_stand_on_a_line_each() -> None:
    rows = [{"a": 1.5, "b": "ü\n"}, {"a": math.nan, "b": [None, math.inf]}]
    text = rows_to_json(rows)
    assert json.loads(text) == [rows[0], {"a": None, "b": [None, None]}]
    assert len(text.splitlines()) == 4
    assert json.loads(rows_to_json([])) == []


def test_formats_keep_every_bit() -> None:
    assert json.loads(render(EXPORTED, ExportFormat.json)) == EXPORTED
    assert yaml.safe_load(render(EXPORTED, ExportFormat.yaml)) == EXPORTED
    assert repr(0.1 + 0.2) in render(EXPORTED, ExportFormat.toml)


def test_arguments_survive_the_shell_and_the_parser() -> None:
    words = shlex.split(render(EXPORTED, ExportFormat.args))
    assignments = [word.removeprefix("--set=") for word in words if word.startswith("--set=")]
    spec = resolve(None, {"dataset": "mr", "trials": 1}, assignments)
    for name, value in EXPORTED["best"]["params"].items():
        assert spec.train[name] == value
        assert type(spec.train[name]) is type(value)
    assert {"--loss=gloss", "--mode=integrated", "--model=a/b", "--seed=3"} <= set(words)


def test_arguments_with_odd_names_stay_one_word_each() -> None:
    words = shlex.split(render({**EXPORTED, "model": "/my encoders/it's; rm -rf ~"}, ExportFormat.args))
    assert "--model=/my encoders/it's; rm -rf ~" in words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.123456789, "0.1235"),
        (1e-05, "1e-05"),
        (7, "7"),
        ({"a": 0.5, "b": 2}, "a=0.5, b=2"),
        ({}, "–"),
        (0, "0"),
    ],
)
def test_cells(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_table_in_a_pipe_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "text"], [("a", "x" * 400), ("b", "[red]as it is[/red] [/128]")])
    out = capsys.readouterr().out
    assert "x" * 400 in out
    assert "[red]as it is[/red] [/128]" in out
    assert "\x1b" not in out


# ── files ──


def test_a_file_is_replaced_whole_and_with_ordinary_permissions(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    path.write_text("old")
    path.chmod(0o600)
    emit("new", path)
    assert path.read_text() == "new\n"
    assert path.stat().st_mode & 0o777 == (0o666 & ~_umask())
    assert list(tmp_path.iterdir()) == [path]


def _umask() -> int:
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("place", ["missing/best.json", "folder", "x" * 300, "file/best.json"])
def test_a_file_that_cannot_be_written_is_named_and_nothing_left(place: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match="--output"):
        write_whole(tmp_path / place, "data")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
    assert list((tmp_path / "folder").iterdir()) == []


# ── the dashboard's guard ──


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reads_pass(method: str) -> None:
    assert read_only(lambda environ, start: [b"passed"])({"REQUEST_METHOD": method}, lambda *a: None) == [
        b"passed"
    ]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "get", "", "GET "])
def test_everything_else_is_refused(method: str) -> None:
    said: list[Any] = []

    def never(environ: Any, start: Any) -> list[bytes]:
        raise AssertionError("reached the application")

    read_only(never)({"REQUEST_METHOD": method}, lambda *a: said.append(a))
    ((status, headers),) = said
    assert status.startswith("405")
    assert dict(headers)["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("loss", ["ce", "scl", "triplet", "cosine"])
def test_a_shipped_specification_serves_every_loss(loss: str) -> None:
    """As the README shows it; what the user asks for by --set is still checked."""
    spec = resolve("r52", {"loss": loss, "trials": 30}, [])
    assert (spec.loss, spec.trials, spec.dataset) == (loss, 30, "r52")
    assert "mask_ratio" not in spec.space
    with pytest.raises(SpecError, match="mask_ratio: has no effect"):
        resolve("r52", {"loss": loss}, ["space.mask_ratio=0.4"])


def test_ctrl_c_before_a_command_listens_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gloss_tune.cli.app", interrupted)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 130
