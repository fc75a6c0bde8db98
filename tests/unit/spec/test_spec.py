"""The specification: layers, defaults, and every fault at once with the path of its key."""

from __future__ import annotations

import dataclasses
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import ValidationError

from gloss_tune.errors import SpecError
from gloss_tune.finetune.config import TRAIN_FIELDS, FinetuneConfig
from gloss_tune.spec.build import build_spec
from gloss_tune.spec.layers import parse_assignments, read_toml
from gloss_tune.spec.space import complete
from gloss_tune.spec.spec import StudySpec, default_study_name
from gloss_tune.spec.train import TrainSpec
from gloss_tune.study.distributions import distribution_of
from gloss_tune.study.inputs import differences

MR = {"dataset": "mr"}


def faults(*layers: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        build_spec(MR, *layers)
    return caught.value.faults


def searched(spec: StudySpec) -> dict[str, Any]:
    return {r.name: distribution_of(r) for r in spec.ranges}


# ── defaults ──


def test_the_default_space_is_the_documented_one() -> None:
    assert searched(build_spec(MR)) == {
        "mask_ratio": FloatDistribution(0.1, 0.9),
        "lpa_iterations": IntDistribution(1, 50, log=True),
        "temperature": FloatDistribution(0.01, 2.0, log=True),
        "learning_rate": FloatDistribution(1e-6, 1e-3, log=True),
    }


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        ("gloss", {"mask_ratio", "lpa_iterations", "temperature", "learning_rate"}),
        ("scl", {"temperature", "learning_rate"}),
        ("triplet", {"margin", "learning_rate"}),
        ("cosine", {"margin", "learning_rate"}),
        ("ce", {"learning_rate"}),
    ],
)
def test_each_loss_searches_what_it_uses(loss: str, names: set[str]) -> None:
    assert set(build_spec(MR, {"loss": loss}).space) == names


def test_closed_form_propagation_has_no_number_of_steps_to_search() -> None:
    assert "lpa_iterations" not in build_spec(MR, {"train": {"propagation": "closed_form"}}).space


def test_a_spec_names_every_hyperparameter() -> None:
    """So that another release's defaults cannot change a running study."""
    spec = build_spec(MR)
    named = {*spec.train, *spec.space, "loss", "mode", "metric", "seed"}
    assert named | {"margin"} == {field.name for field in dataclasses.fields(FinetuneConfig)}


def test_the_least_that_is_needed_is_a_data_set() -> None:
    with pytest.raises(SpecError, match=r"dataset: is needed"):
        build_spec({})


# ── layers ──


def test_a_later_layer_wins_and_leaves_the_rest() -> None:
    spec = build_spec(
        MR,
        {
            "trials": 5,
            "seed": 1,
            "train": {"epochs": 4, "patience": 2},
            "space": {"temperature": {"low": 0.1}},
        },
        {"trials": 7, "train": {"epochs": 6}, "space": {"temperature": {"high": 1.0}}},
    )
    assert (spec.trials, spec.seed, spec.train["epochs"], spec.train["patience"]) == (7, 1, 6, 2)
    assert searched(spec)["temperature"] == FloatDistribution(0.1, 1.0, log=True)


@pytest.mark.parametrize("given", [{"train": {"temperature": 0.25}}, {"space": {"temperature": 0.25}}])
def test_a_single_value_fixes_a_hyperparameter(given: dict[str, Any]) -> None:
    spec = build_spec(MR, given)
    assert "temperature" not in spec.space
    assert spec.train["temperature"] == 0.25
    assert spec.config({"mask_ratio": 0.3, "lpa_iterations": 4, "learning_rate": 1e-5}).temperature == 0.25


def test_an_empty_table_searches_the_default_range() -> None:
    spec = build_spec(MR, {"space": {"gloss_weight": {}, "batch_size": {}}})
    assert searched(spec)["gloss_weight"] == FloatDistribution(0.1, 0.9)
    assert searched(spec)["batch_size"] == CategoricalDistribution([32, 64, 128, 256])


@pytest.mark.parametrize(
    ("below", "above"),
    [
        ({"space": {"epochs": {}}}, {"train": {"epochs": 3}}),
        ({"space": {"learning_rate": {"low": 1e-5}}}, {"train": {"learning_rate": 1e-4}}),
        ({"space": {"temperature": {"low": 0.1}}}, {"space": {"temperature": 0.25}}),
        ({"train": {"temperature": 0.25}}, {"space": {"temperature": {"low": 0.1}}}),
        ({"space": {"temperature": 0.25}}, {"space": {"temperature": {"low": 0.1}}}),
        ({"space": {"temperature": 0.25}}, {"train": {"temperature": 0.5}}),
        ({"train": {"temperature": 0.25}}, {"space": {"temperature": 0.5}}),
    ],
)
def test_what_the_user_said_last_is_never_silently_ignored(
    below: dict[str, Any], above: dict[str, Any]
) -> None:
    """An option over a file: it wins, or the clash is named."""
    ((_section, table),) = above.items()
    ((name, value),) = table.items()
    try:
        spec = build_spec(MR, below, above)
    except SpecError as error:
        assert name in str(error)
        return
    if isinstance(value, dict):
        assert spec.space[name].low == value["low"]
    else:
        assert name not in spec.space
        assert spec.train[name] == value


def test_choices_replace_a_default_interval() -> None:
    spec = build_spec(MR, {"space": {"temperature": {"choices": [0.1, 0.5]}}})
    assert searched(spec)["temperature"] == CategoricalDistribution([0.1, 0.5])


def test_an_interval_replaces_default_choices() -> None:
    spec = build_spec(MR, {"space": {"batch_size": {"low": 16, "high": 64, "step": 16}}})
    assert searched(spec)["batch_size"] == IntDistribution(16, 64, step=16)


def test_a_step_drops_the_default_log_scale() -> None:
    spec = build_spec(MR, {"space": {"temperature": {"low": 0.5, "high": 2.0, "step": 0.5}}})
    assert searched(spec)["temperature"] == FloatDistribution(0.5, 2.0, step=0.5)


def test_the_longest_documents_decide_how_tokens_are_cut() -> None:
    assert build_spec(MR, {"train": {"max_length": 77}}).longest_documents == 77
    assert build_spec(MR, {"space": {"max_length": {"choices": [64, 200, 100]}}}).longest_documents == 200
    assert build_spec(MR, {"space": {"max_length": {"low": 16, "high": 48}}}).longest_documents == 48


# ── faults ──


def test_all_faults_are_reported_at_once_with_their_paths() -> None:
    found = faults(
        {
            "trials": 0,
            "colour": "red",
            "loss": "gloss",
            "train": {"epochs": 0, "foo": 1, "seed": 3, "margin": 0.2},
            "space": {"temperature": {"low": 2.0, "high": 1.0}, "bar": {}, "mask_ratio": {"lowest": 0.1}},
        }
    )
    starts = {fault.split(":")[0] for fault in found}
    assert starts >= {
        "trials",
        "colour",
        "train.foo",
        "train.seed",
        "margin",
        "space.temperature",
        "space.bar",
        "space.mask_ratio.lowest",
    }


@pytest.mark.parametrize(
    ("layer", "start"),
    [
        ({"dataset": ""}, "dataset:"),
        ({"dataset": 3}, "dataset:"),
        ({"dataset": "x" * 400}, "dataset:"),
        ({"dataset": "a\0b"}, "dataset:"),
        ({"loss": "hinge"}, "loss:"),
        ({"loss": ["gloss"]}, "loss:"),
        ({"mode": "both"}, "mode:"),
        ({"metric": "val_loss"}, "metric:"),
        ({"sampler": "cmaes"}, "sampler:"),
        ({"pruner": "greedy"}, "pruner:"),
        ({"trials": 0}, "trials:"),
        ({"trials": 2.0}, "trials:"),
        ({"trials": True}, "trials:"),
        ({"seed": -1}, "seed:"),
        ({"seed": 2**63}, "seed:"),
        ({"lease": 1}, "lease:"),
        ({"lease": float("nan")}, "lease:"),
        ({"max_attempts": 0}, "max_attempts:"),
        ({"max_train_docs": 1}, "max_train_docs:"),
        ({"rehearse": 1}, "rehearse:"),
        ({"rehearse_seconds": -1}, "rehearse_seconds:"),
        ({"rehearse_seconds": float("inf")}, "rehearse_seconds:"),
        ({"train": 3}, "train:"),
        ({"space": [1]}, "space:"),
        ({"train": {"epochs": 2.5}}, "train.epochs:"),
        ({"train": {"epochs": True}}, "train.epochs:"),
        ({"train": {"epochs": {"x": 1}}}, "train.epochs:"),
        ({"train": {"mask_ratio": 1.0}}, "train.mask_ratio:"),
        ({"train": {"temperature": 0}}, "train.temperature:"),
        ({"train": {"learning_rate": float("nan")}}, "train.learning_rate:"),
        ({"train": {"precision": "float16"}}, "train.precision:"),
        ({"train": {"loss": "ce"}}, "train.loss:"),
        ({"space": {"temperature": [0.1, 0.2]}}, "train.temperature:"),
        ({"space": {"patience": {"low": 1, "high": 3}}}, "space.patience:"),
        ({"space": {"temperature": {"low": "a"}}}, "space.temperature:"),
        ({"space": {"temperature": {"low": 0.0}}}, "space.temperature:"),
        ({"space": {"temperature": {"log": "yes"}}}, "space.temperature.log:"),
        ({"space": {"temperature": {"log": True, "step": 0.1}}}, "space.temperature:"),
        ({"space": {"temperature": {"step": -0.1}}}, "space.temperature:"),
        ({"space": {"temperature": {"choices": []}}}, "space.temperature:"),
        ({"space": {"temperature": {"choices": [0.1, 0.1]}}}, "space.temperature:"),
        ({"space": {"temperature": {"choices": [[0.1]]}}}, "space.temperature:"),
        ({"space": {"temperature": {"choices": "0.1"}}}, "space.temperature.choices:"),
        ({"space": {"temperature": {"choices": [0.1], "low": 0.1}}}, "space.temperature:"),
        ({"space": {"temperature": {"choices": [0.1, -1]}}}, "space.temperature:"),
        ({"space": {"mask_ratio": {"high": 1.0}}}, "space.mask_ratio:"),
        ({"space": {"mask_ratio": {"points": 0}}}, "space.mask_ratio:"),
        ({"space": {"mask_ratio": {"points": 2.5}}}, "space.mask_ratio:"),
        ({"space": {"lpa_iterations": {"low": 0, "log": False}}}, "space.lpa_iterations:"),
        ({"space": {"lpa_iterations": {"low": 1.5}}}, "space.lpa_iterations:"),
        ({"space": {"lpa_iterations": {"step": "x"}}}, "space.lpa_iterations:"),
        ({"space": {"lpa_iterations": {"step": float("inf")}}}, "space.lpa_iterations:"),
        ({"space": {"lpa_iterations": {"step": [1]}}}, "space.lpa_iterations:"),
        ({"space": {"mask_ratio": {"high": 10**400}}}, "space.mask_ratio:"),
        ({"space": {"lpa_iterations": {"high": 10**30}}}, "space.lpa_iterations:"),
        ({"train": {"learning_rate": 10**400}}, "train.learning_rate:"),
        ({"space": {"gloss_weight": {"high": 1.0}}}, "space.gloss_weight:"),
        ({"space": {"normalization": {"low": 1, "high": 2}}}, "space.normalization:"),
        ({"space": {"normalization": {"choices": ["l2"]}}}, "space.normalization:"),
        ({"space": {"batch_size": {"low": 16}}}, "space.batch_size:"),
        ({"first_trials": "published"}, "first_trials:"),
        ({"first_trials": ["best"]}, "first_trials[0]:"),
        ({"first_trials": [{}, 7]}, "first_trials[1]:"),
        ({"first_trials": [{"mask_ratio": 0.95}]}, "first_trials[0]:"),
        ({"first_trials": [{"mask_ratio": "0.5"}]}, "first_trials[0]:"),
        ({"first_trials": [{"mask_ratio": True}]}, "first_trials[0]:"),
        ({"first_trials": [{"lpa_iterations": 2.5}]}, "first_trials[0]:"),
        ({"first_trials": [{"lpa_iterations": float("inf")}]}, "first_trials[0]:"),
        ({"first_trials": [{"lpa_iterations": float("nan")}]}, "first_trials[0]:"),
        ({"first_trials": [{"gloss_weight": 0.5}]}, "first_trials[0]:"),
        ({"loss": "ce", "first_trials": ["published"]}, "first_trials[0]:"),
        ({"loss": "ce", "mode": "standalone"}, "mode:"),
    ],
)
def test_a_fault_opens_with_the_path_of_its_key(layer: dict[str, Any], start: str) -> None:
    found = faults(layer)
    assert [fault for fault in found if fault.startswith(start)], found


def test_one_fault_gives_one_line() -> None:
    assert len(faults({"space": {"temperature": {"low": 2.0, "high": 1.0}}})) == 1
    assert len(faults({"train": {"mask_ratio": 1.5}})) == 1


@pytest.mark.parametrize(
    ("loss", "mode", "unused"),
    [
        ("gloss", "integrated", {"margin"}),
        ("gloss", "standalone", {"margin", "gloss_weight", "head_learning_rate"}),
        ("scl", "integrated", {"margin", "mask_ratio", "lpa_iterations", "normalization", "propagation"}),
        (
            "triplet",
            "integrated",
            {"temperature", "mask_ratio", "lpa_iterations", "normalization", "propagation"},
        ),
        (
            "cosine",
            "integrated",
            {"temperature", "mask_ratio", "lpa_iterations", "normalization", "propagation"},
        ),
        (
            "ce",
            "integrated",
            {
                "temperature",
                "margin",
                "gloss_weight",
                "mask_ratio",
                "lpa_iterations",
                "normalization",
                "propagation",
            },
        ),
    ],
)
def test_what_a_loss_does_not_use_is_refused(loss: str, mode: str, unused: set[str]) -> None:
    named = dataclasses.asdict(FinetuneConfig())
    for name in (
        "temperature",
        "margin",
        "gloss_weight",
        "head_learning_rate",
        "mask_ratio",
        "lpa_iterations",
        "normalization",
        "propagation",
        "weight_decay",
        "clip_norm",
    ):
        layer = {"loss": loss, "mode": mode, "train": {name: named[name]}}
        if name in unused:
            assert [f for f in faults(layer) if name in f.split(":")[0]], (loss, mode, name)
        else:
            build_spec(MR, layer)


def test_a_space_without_choice_is_refused_for_more_than_one_trial() -> None:
    fixed = {"train": {"mask_ratio": 0.3, "lpa_iterations": 3, "temperature": 0.1, "learning_rate": 1e-4}}
    assert faults(fixed)[0].startswith("space:")
    assert build_spec(MR, fixed, {"trials": 1}).space == {}


def test_a_spec_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        build_spec(MR).trials = 3  # type: ignore[misc]


# ── grids and first trials ──


def test_a_grid_limits_the_budget() -> None:
    space = {
        "mask_ratio": {"choices": [0.1, 0.2]},
        "temperature": {"points": 3},
        "lpa_iterations": 5,
        "learning_rate": 1e-4,
    }
    assert build_spec(MR, {"sampler": "grid", "trials": 100, "space": space}).trials == 6
    assert build_spec(MR, {"sampler": "grid", "trials": 4, "space": space}).trials == 4
    assert build_spec(MR, {"sampler": "random", "trials": 100, "space": space}).trials == 100


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "space",
    [
        {"mask_ratio": {"points": 10**9}},
        {"mask_ratio": {"low": 0.1, "high": 0.9, "step": 1e-12}},
        {
            name: {"points": 50}
            for name in ("mask_ratio", "temperature", "learning_rate", "weight_decay", "clip_norm")
        },
    ],
    ids=["points", "step", "product"],
)
def test_a_grid_without_bounds_neither_hangs_nor_fills_the_memory(space: dict[str, Any]) -> None:
    """Either it is refused, or nobody makes all the points."""
    import resource
    import time

    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (6 * 2**30, before[1]))
    start = time.monotonic()
    try:
        assert build_spec(MR, {"sampler": "grid", "trials": 10, "space": space}).trials == 10
    except SpecError as error:
        assert "space" in str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    assert time.monotonic() - start < 5


def test_first_trials_are_tables_or_known_heuristics() -> None:
    spec = build_spec(
        MR, {"first_trials": ["sqrt_distance", "published", {"mask_ratio": 0.3, "lpa_iterations": 7}]}
    )
    assert spec.first_trials == ("sqrt_distance", "published", {"mask_ratio": 0.3, "lpa_iterations": 7})


# ── storing ──

SPECS = [
    {},
    {"loss": "scl", "mode": "standalone", "sampler": "gp", "pruner": "hyperband", "max_train_docs": 400},
    {
        "first_trials": ["published", {"mask_ratio": 0.25}],
        "rehearse": True,
        "rehearse_seconds": 0.5,
        "lease": 7,
    },
    {"sampler": "grid", "space": {"normalization": {}, "batch_size": {"low": 16, "high": 64, "step": 16}}},
    {"space": {"temperature": {"choices": [0.1, 0.5]}, "mask_ratio": {"points": 3}}},
]


@pytest.mark.parametrize("layer", SPECS)
def test_a_spec_survives_json_unchanged(layer: dict[str, Any]) -> None:
    spec = build_spec(MR, layer)
    stored = json.loads(json.dumps(spec.to_dict()))
    stored["first_trials"] = tuple(stored["first_trials"])
    again = StudySpec.model_validate(stored)
    assert again == spec
    assert differences(again.to_dict(), spec.to_dict()) == []
    assert searched(again) == searched(spec)


@pytest.mark.parametrize("layer", SPECS)
def test_a_resolved_spec_resolves_to_itself(layer: dict[str, Any]) -> None:
    """What --dry-run prints is a specification file for the same study."""
    spec = build_spec(MR, layer)
    printed = {key: value for key, value in spec.to_dict().items() if value is not None}
    again = build_spec(printed)
    assert again == spec


def test_differences_name_the_field_with_both_values() -> None:
    stored = build_spec(MR).to_dict()
    asked = build_spec(
        MR, {"trials": 7, "space": {"temperature": {"high": 1.5}, "gloss_weight": {}}}
    ).to_dict()
    lines = differences(stored, asked)
    by_key = {line.split(":")[0]: line for line in lines}
    assert len(by_key) == len(lines)
    assert by_key.keys() - {"train.gloss_weight"} == {
        "trials",
        "space.temperature.high",
        "space.gloss_weight",
    }
    assert "20" in by_key["trials"]
    assert "7" in by_key["trials"]
    assert "2.0" in by_key["space.temperature.high"]
    assert "1.5" in by_key["space.temperature.high"]
    assert differences(stored, stored) == []


def test_differences_see_what_only_one_side_has() -> None:
    assert len(differences({"a": 1}, {})) == 1
    assert len(differences({}, {"a": 1})) == 1
    assert len(differences({"a": {"b": 1}}, {"a": 1})) == 1


def test_a_trial_is_configured_by_what_it_drew_and_what_is_fixed() -> None:
    spec = build_spec(
        MR, {"seed": 9, "metric": "val_accuracy", "train": {"epochs": 4}, "space": {"batch_size": {}}}
    )
    config = spec.config(
        {"mask_ratio": 0.3, "lpa_iterations": 4, "temperature": 0.2, "learning_rate": 1e-5, "batch_size": 64}
    )
    assert (config.seed, config.metric, config.epochs, config.batch_size) == (9, "val_accuracy", 4, 64)
    config.validate()


# ── names ──


@pytest.mark.parametrize(
    "layer",
    [
        {},
        {"dataset": "/data/my reviews (2024).csv"},
        {"dataset": "."},
        {"dataset": ".."},
        {"dataset": "_private/"},
        {"dataset": "./.hidden"},
        {"dataset": "データ.csv"},
        {"dataset": "x" * 250},
        {"model": "m" * 250},
        {"model": "./encoders/mine/"},
        {"model": "組織/模型"},
        {"mode": "standalone"},
    ],
)
def test_the_default_name_of_a_study_is_a_valid_one(layer: dict[str, Any]) -> None:
    from gloss_tune.study.study import check_name

    name = default_study_name(build_spec(MR, layer))
    assert check_name(name) == name


def test_default_names_tell_studies_apart() -> None:
    layers = [
        {},
        {"dataset": "r8"},
        {"model": "a/b"},
        {"loss": "ce"},
        {"mode": "standalone"},
        {"rehearse": True},
    ]
    assert len({default_study_name(build_spec(MR, layer)) for layer in layers}) == len(layers)


# ── --set and files ──


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a=1.5", 1.5),
        ("a=1e-5", 1e-5),
        ("a=5e-05", 5e-5),
        ("a=true", True),
        ("a=random_walk", "random_walk"),
        ('a="1"', "1"),
        ("a=[1, 2]", [1, 2]),
        ("a={low = 1}", {"low": 1}),
        ("a=", ""),
        ("a=b=c", "b=c"),
        (" a = 1 ", 1),
        ("a=sqlite:///x", "sqlite:///x"),
        ("a=/data/mine.csv", "/data/mine.csv"),
    ],
)
def test_an_assignment_is_toml_or_a_bare_word(text: str, value: object) -> None:
    assert parse_assignments([text]) == {"a": value}
    assert type(parse_assignments([text])["a"]) is type(value)


def test_assignments_nest_and_later_ones_win() -> None:
    table = parse_assignments(
        ["space.temperature.low=1", "space.temperature.high=2", "space.temperature.low=0.5"]
    )
    assert table == {"space": {"temperature": {"low": 0.5, "high": 2}}}


def test_all_malformed_assignments_are_named() -> None:
    with pytest.raises(SpecError) as caught:
        parse_assignments(["a", "=1", "a..b=1", "good=1", ".a=1", ""])
    assert len(caught.value.faults) == 5


@pytest.mark.parametrize("text", ["x=" + "[" * 5000, "x=" + "{a=" * 5000])
def test_a_value_nested_too_deep_is_no_traceback(text: str) -> None:
    with suppress(SpecError):
        parse_assignments([text])


@pytest.mark.parametrize(
    "content", [b"a = ", b"\xff\xfe", b"[a]\n[a]", b"\xef\xbb\xbfa = 1", b"a = " + b"[" * 5000]
)
def test_a_file_that_is_not_toml_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=r"spec\.toml"):
        read_toml(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(SpecError, match=str(path)):
            read_toml(path)


def test_a_specification_that_the_first_release_stored_is_read_as_it_was() -> None:
    """What it did not know yet has the default, which changes nothing; a repeated ``create`` finds no difference."""
    spec = build_spec(MR, {"space": {"batch_size": {"choices": [16, 32]}, "epochs": {"high": 4}}})
    stored = json.loads(json.dumps(spec.to_dict()))
    known = {
        "patience", "max_length", "head_learning_rate", "weight_decay", "warmup_ratio", "clip_norm",
        "propagation", "normalization", "gloss_weight", "precision",
    }  # fmt: skip
    stored["train"] = {name: value for name, value in stored["train"].items() if name in known}
    assert known == stored["train"].keys()
    assert stored["space"]["epochs"] == {"low": 1, "high": 4}
    read = StudySpec.model_validate(complete(stored))
    assert read == spec
    assert differences(read.to_dict(), spec.to_dict()) == []
    del stored["train"]["clip_norm"]  # as if this release had brought it
    assert StudySpec.model_validate(complete(stored)) == spec


def test_a_specification_cannot_be_changed() -> None:
    spec = build_spec(MR)
    with pytest.raises(TypeError):
        spec.space["temperature"] = spec.space["mask_ratio"]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.train.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("space", "train", "epochs"),
    [
        ({"epochs": {"choices": [2, 4, 3]}}, {}, 4),
        ({"epochs": {"low": 1, "high": 16, "log": True}}, {}, 16),
        ({"epochs": {"low": 2, "high": 8, "step": 3}}, {}, 8),
        ({}, {"epochs": 7}, 7),
    ],
)
def test_the_most_epochs_are_read_off_every_form_of_a_range(
    space: dict[str, Any], train: dict[str, Any], epochs: int
) -> None:
    assert build_spec(MR, {"space": space, "train": train}).most_epochs == epochs


def test_the_fixed_hyperparameters_are_those_of_a_fine_tune() -> None:
    assert tuple(field.name for field in dataclasses.fields(TrainSpec)) == TRAIN_FIELDS


@pytest.mark.parametrize(
    "table", [{"space": {"temperature": {"low": 2.0, "high": 1.0}}}, {"train": {"depth": 1}}, {"train": 3}]
)
def test_python_callers_are_told_too(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"temperature|depth|train"):
        StudySpec.model_validate({**build_spec(MR).to_dict(), **table})
