"""Whatever ``create`` accepts, a worker can run to its end; whatever it refuses is told whole and leaves nothing."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from gloss_tune.doctor.smoke import middle_config
from gloss_tune.errors import SpecError
from gloss_tune.finetune.config import LOSSES, METRICS
from gloss_tune.launch.density import worker_memory
from gloss_tune.signals import StopFlag
from gloss_tune.spec.build import build_spec
from gloss_tune.spec.space import DEFAULT_RANGES
from gloss_tune.spec.spec import StudySpec
from gloss_tune.study.create import create
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.worker import WorkerOptions, work

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::optuna.exceptions.ExperimentalWarning"
)

# values that some trial may have, by hyperparameter
SOUND: dict[str, list[Any]] = {
    name: table["choices"] if "choices" in table else [table["low"], table["high"]]
    for name, table in DEFAULT_RANGES.items()
}


def ranges_of(name: str) -> st.SearchStrategy[Any]:
    """Every form that a range may take, mostly sound."""
    values = SOUND[name]
    forms: list[st.SearchStrategy[Any]] = [
        st.just({}),
        st.sampled_from(values),
        st.lists(st.sampled_from(values), min_size=1, max_size=2).map(lambda some: {"choices": some}),
    ]
    if not isinstance(values[0], str):
        low, high = min(values), max(values)
        forms += [
            st.just({"low": low, "high": low}),
            st.just({"low": low, "high": high, "log": True}),
            st.integers(1, 3).map(lambda parts: {"low": low, "high": high, "step": (high - low) / parts}),
            st.just({"low": low, "high": high, "points": 2}),
        ]
        if isinstance(low, int):
            forms.append(st.just({"low": low, "high": low + 6, "step": 2}))
    return st.one_of(forms)


TABLES = st.lists(st.sampled_from(sorted(DEFAULT_RANGES)), max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: ranges_of(name) for name in names})
)
LAYERS = st.fixed_dictionaries(
    {"space": TABLES},
    optional={
        "loss": st.sampled_from(LOSSES),
        "mode": st.sampled_from(["integrated", "standalone"]),
        "metric": st.sampled_from(METRICS),
        "sampler": st.sampled_from(["tpe", "random", "qmc", "grid"]),
        "pruner": st.sampled_from(["median", "hyperband", "none"]),
        "trials": st.integers(1, 3),
        "first_trials": st.lists(st.just("published") | st.just({}), max_size=1),
    },
)
EPOCHS = {"epochs": {"choices": [4, 2]}}
_numbers = itertools.count()


def work_off(spec: StudySpec, folder: Path) -> OpenStudy:
    url = f"sqlite:///{folder / f'{next(_numbers)}.db'}"
    opened = create(spec, url).study
    try:
        middle_config(spec).validate()
        work(opened, WorkerOptions(artifacts=folder / "artifacts"), StopFlag())
        states = [trial.state for trial in opened.storage.get_all_trials(opened.study_id)]
        assert len(states) == spec.trials
        assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED}
        assert TrialState.COMPLETE in states
        worker_memory(opened, "cpu")
        return opened
    finally:
        opened.storage.remove_session()
        opened.storage.engine.dispose()


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(layer=LAYERS)
@example(layer={"space": EPOCHS})
@example(layer={"space": EPOCHS, "pruner": "hyperband"})
@example(layer={"space": EPOCHS, "sampler": "grid", "loss": "ce", "trials": 3})
@example(layer={"space": {"epochs": {"low": 2, "high": 6, "step": 2}}, "pruner": "hyperband"})
@example(
    layer={"space": {"temperature": {"low": 0.5, "high": 2.0, "step": 0.5}}, "first_trials": ["published"]}
)
@example(layer={"space": {"temperature": {"choices": [0.1, 1.0]}}, "first_trials": ["published"]})
@example(layer={"train": {"learning_rate": 1.7e308, "temperature": 5e-324}})
def test_what_create_accepts_a_worker_can_run(layer: dict[str, Any], tmp_path: Path) -> None:
    base = {"dataset": "mr", "rehearse": True, "trials": 2, "train": {"patience": 2}}
    try:
        spec = build_spec(base, layer)
    except SpecError as error:
        assert error.faults
        return
    work_off(spec, tmp_path)


@pytest.mark.parametrize("sampler", ["gp", "tpe", "qmc"])
def test_every_sampler_draws_from_every_form_of_a_range(sampler: str, tmp_path: Path) -> None:
    space = {
        "mask_ratio": {"low": 0.1, "high": 0.7, "step": 0.1},
        "lpa_iterations": {"choices": [3, 1]},
        "temperature": {"low": 0.5, "high": 0.5},
        "learning_rate": {"choices": [1e-4]},
        **EPOCHS,
    }
    base = {"dataset": "mr", "rehearse": True, "trials": 6, "sampler": sampler}
    work_off(build_spec(base, {"space": space}), tmp_path)


# each is wrong by itself, and says so whatever else is wrong
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"trials": 0}, "trials:"),
    ({"colour": "red"}, "colour:"),
    ({"metric": "val_f2"}, "metric:"),
    ({"lease": True}, "lease:"),
    ({"train": {"patience": 0}}, "train.patience:"),
    ({"train": {"precision": "half"}}, "train.precision:"),
    ({"train": {"depth": 1}}, "train.depth:"),
    ({"train": {"epochs": 10**12}}, "train.epochs:"),
    ({"space": {"temperature": {"low": 3.0}}}, "space.temperature:"),
    ({"space": {"learning_rate": {"choices": [1e-4, 0.0001]}}}, "space.learning_rate:"),
    ({"space": {"weight_decay": {"choices": [0, 0.0]}}}, "space.weight_decay:"),
    ({"space": {"mask_ratio": {"high": 1.5}}}, "space.mask_ratio:"),
    ({"space": {"batch_size": {"choices": [32, 1]}}}, "space.batch_size:"),
    ({"space": {"width": {}}}, "space.width:"),
    ({"space": {"gloss_weight": {"high": 1.0}}}, "space.gloss_weight:"),
    ({"first_trials": [{"lpa_iterations": 77}]}, "first_trials[0]:"),
]


@pytest.mark.parametrize(
    ("one", "other"),
    [pair for pair in itertools.combinations(WRONG, 2) if not pair[0][0].keys() & pair[1][0].keys()],
)
def test_two_faults_are_both_named(
    one: tuple[dict[str, Any], str], other: tuple[dict[str, Any], str]
) -> None:
    with pytest.raises(SpecError) as caught:
        build_spec({"dataset": "mr"}, one[0], other[0])
    for _, start in (one, other):
        assert [fault for fault in caught.value.faults if fault.startswith(start)], caught.value.faults
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize(
    ("space", "first", "fits"),
    [
        ({"low": 0.1, "high": 0.7, "step": 0.2}, 0.3, True),
        ({"low": 0.1, "high": 0.7, "step": 0.2}, 0.25, False),
        ({"choices": [0.1, 0.5]}, 0.5, True),
        ({"choices": [0.1, 0.5]}, 0.3, False),
        ({"choices": [0.5]}, True, False),
    ],
)
def test_a_first_trial_has_values_that_a_draw_can_give(
    space: dict[str, Any], first: Any, fits: bool, tmp_path: Path
) -> None:
    layer = {"dataset": "mr", "rehearse": True, "trials": 2, "space": {"mask_ratio": space}}
    asked = {"first_trials": [{"mask_ratio": first}]}
    if fits:
        work_off(build_spec(layer, asked), tmp_path)
        return
    with pytest.raises(SpecError, match="first_trials"):
        build_spec(layer, asked)


def test_the_specification_that_was_stored_is_the_one_that_is_read(tmp_path: Path) -> None:
    given = {"dataset": "mr", "rehearse": True, "priors": False}  # create adds none, then
    spec = build_spec(given, {"space": {**EPOCHS, "batch_size": {}}})
    opened = create(spec, f"sqlite:///{tmp_path / 's.db'}").study
    assert opened.spec == spec
    assert opened.spec.space["epochs"].choices == (4, 2)
    assert opened.spec.train.patience == 3
    assert opened.spec.train.epochs is None
    stored = json.loads(json.dumps(spec.to_dict()))
    assert stored["space"]["epochs"] == {"choices": [4, 2]}
    assert "epochs" not in stored["train"]
    opened.storage.remove_session()
    opened.storage.engine.dispose()


@pytest.mark.parametrize(
    ("metric", "refused"), [("val_auc", "'c'"), ("val_silhouette", None), ("val_balanced_accuracy", None)]
)
def test_a_metric_that_validation_cannot_give_is_refused(
    metric: str, refused: str | None, tmp_path: Path
) -> None:
    rows = {"train": "abcabc", "val": "abab", "test": "abc"}
    for split, labels in rows.items():
        lines = [f"{split} text number {number},{label}" for number, label in enumerate(labels)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *lines]))
    spec = build_spec({"dataset": str(tmp_path), "rehearse": True, "trials": 1, "metric": metric})
    database = tmp_path / "s.db"
    if refused is None:
        opened = create(spec, f"sqlite:///{database}").study
        opened.storage.remove_session()
        opened.storage.engine.dispose()
        return
    with pytest.raises(SpecError, match=f"metric: {metric} needs documents of every class.*{refused}"):
        create(spec, f"sqlite:///{database}")
    assert not database.exists()


@pytest.mark.parametrize("pruner", ["median", "hyperband", "none"])
def test_trials_of_several_seeds_are_run_and_pruned_between_seeds(pruner: str, tmp_path: Path) -> None:
    layer = {"train": {"seeds": 3, "epochs": 2}, "trials": 16, "pruner": pruner, "sampler": "random"}
    spec = build_spec({"dataset": "mr", "rehearse": True}, layer)
    assert spec.most_steps == 3
    opened = work_off(spec, tmp_path)
    trials = opened.storage.get_all_trials(opened.study_id)
    for trial in trials:
        steps = sorted(trial.intermediate_values)
        complete = trial.state == TrialState.COMPLETE
        assert steps == [1, 2, 3] if complete else steps in ([1], [1, 2])
        assert trial.value == pytest.approx(trial.intermediate_values[steps[-1]])
        assert trial.user_attrs["metrics"]["val_macro_f1"] == trial.value
    assert (pruner == "none") == all(trial.state == TrialState.COMPLETE for trial in trials)
    opened.storage.remove_session()
    opened.storage.engine.dispose()


@pytest.mark.parametrize("seeds", [0, 1.5, True, "3"])
def test_a_wrong_number_of_seeds_is_refused(seeds: Any) -> None:
    with pytest.raises(SpecError, match=r"train\.seeds: must be a whole number of at least 1"):
        build_spec({"dataset": "mr"}, {"train": {"seeds": seeds}})
    with pytest.raises(SpecError, match=r"space\.seeds: cannot be searched"):
        build_spec({"dataset": "mr"}, {"space": {"seeds": {"low": 1, "high": 3}}})
