"""The options that say what a study is: one field each, for every command that takes them."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from gloss_tune.cli import app
from gloss_tune.cli.create import create
from gloss_tune.cli.paper import paper
from gloss_tune.cli.run import run
from gloss_tune.cli.spec_options import SpecOptions, with_spec_options
from gloss_tune.finetune.config import TRAIN_FIELDS
from gloss_tune.spec.spec import StudySpec

OPTIONS = [field.name for field in dataclasses.fields(SpecOptions)]


def test_what_was_left_out_is_in_no_layer() -> None:
    assert SpecOptions().layer() == {}
    assert SpecOptions(rehearse=True, trials=3, epochs=2).layer() == {
        "rehearse": True,
        "trials": 3,
        "train": {"epochs": 2},
    }


def test_a_zero_that_was_given_counts() -> None:
    assert SpecOptions(seed=0, rehearse_seconds=0.0).layer() == {"seed": 0, "rehearse_seconds": 0.0}


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in ("spec", "assignments")])
def test_each_option_is_a_field_of_the_specification(name: str) -> None:
    assert name in StudySpec.model_fields or name in TRAIN_FIELDS


def test_create_and_run_take_the_same_options_and_the_data_set_first() -> None:
    taken = [list(inspect.signature(command).parameters) for command in (create, run)]
    assert taken[0][:3] == taken[1][:3] == ["dataset", "storage", "study"]
    for parameters in taken:
        assert [name for name in parameters if name in OPTIONS] == OPTIONS
        assert "options" not in parameters


def test_a_command_may_take_some_of_them() -> None:
    parameters = list(inspect.signature(paper).parameters)
    some = {
        "trials",
        "epochs",
        "batch_size",
        "max_length",
        "max_train_docs",
        "seed",
        "pruner",
        "rehearse",
        "lease",
    }
    assert {name for name in parameters if name in OPTIONS} == some
    assert parameters.index("modes") + 1 == parameters.index("trials")


def test_a_command_is_given_what_was_said() -> None:
    told: list[tuple[SpecOptions, int]] = []

    @with_spec_options("trials", "assignments")
    def command(*, said: SpecOptions, own: Annotated[int, typer.Option("--own")] = 3) -> None:
        """What it does."""
        told.append((said, own))

    small = typer.Typer()
    small.command()(command)
    words = ["--trials", "7", "--set", "a=1", "--set", "b=2", "--own", "5"]
    result = CliRunner().invoke(small, words)
    assert result.exit_code == 0, result.output
    assert told == [(SpecOptions(trials=7, assignments=["a=1", "b=2"]), 5)]
    assert CliRunner().invoke(small, ["--loss", "ce"]).exit_code == 2


def test_every_option_reaches_the_specification() -> None:
    words = (
        "create --dataset mr --loss scl --mode standalone --trials 7 --metric val_accuracy --sampler gp --pruner none "
        "--epochs 3 --batch-size 16 --max-length 32 --seed 9 --max-train-docs 50 --text-column t --label-column l "
        "--rehearse --rehearse-seconds 0.5 --lease 33 --max-failures 4 --keep 2 --set train.patience=1 "
        "--model some/model --class-weights balanced --dry-run --format json"
    )
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == 0, result.output
    spec = StudySpec.model_validate_json(result.stdout)
    said = SpecOptions(
        dataset="mr", loss="scl", mode="standalone", trials=7, metric="val_accuracy", sampler="gp", pruner="none",
        epochs=3, batch_size=16, max_length=32, seed=9, max_train_docs=50, text_column="t", label_column="l",
        rehearse=True, rehearse_seconds=0.5, lease=33.0, max_failures=4, keep=2, model="some/model",
        class_weights="balanced",
        assignments=["train.patience=1"],
    )  # fmt: skip
    assert spec == said.resolve()
    assert (spec.train.epochs, spec.train.patience, spec.train["max_length"], spec.lease) == (3, 1, 32, 33.0)
