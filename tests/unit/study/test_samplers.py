"""Samplers by name: a seed for each trial, and no configuration twice."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from gloss_tune.spec.build import build_spec
from gloss_tune.spec.spec import StudySpec
from gloss_tune.study.distributions import distribution_of
from gloss_tune.study.samplers import build_pruner, build_sampler
from gloss_tune.study.study import OpenStudy

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]
FIVE = {"choices": [0.1, 0.2, 0.3, 0.4, 0.5]}
#: 5 × 5 × 5 points.
GRID_LIKE: dict[str, Any] = {
    "mask_ratio": FIVE,
    "temperature": FIVE,
    "gloss_weight": FIVE,
    "lpa_iterations": 3,
    "learning_rate": 1e-4,
}


def spec_of(**layer: Any) -> StudySpec:
    return build_spec({"dataset": "mr", "trials": 64}, layer)


def draw_all(spec: StudySpec, count: int, *, told: bool = True) -> list[tuple[Any, ...]]:
    """As workers do it, one trial after the other, each with a sampler of its own."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(storage=storage, study_name="s", direction="maximize")
    space = {r.name: distribution_of(r) for r in spec.ranges}
    drawn = []
    for number in range(count):
        study = optuna.load_study(
            study_name="s", storage=storage, sampler=build_sampler(spec, number), pruner=build_pruner(spec)
        )
        trial = study.ask(space)
        drawn.append(tuple(trial.params[name] for name in space))
        if told:
            trial.report(sum(hash(value) % 97 for value in drawn[-1]) / 97, step=1)
            study.tell(trial, sum(hash(value) % 97 for value in drawn[-1]) / 97)
    assert len(study.get_trials()) == count  # no row but the trials themselves
    return drawn


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_64_draws_from_125_points_never_repeat(sampler: str, pruner: str) -> None:
    drawn = draw_all(spec_of(sampler=sampler, pruner=pruner, space=GRID_LIKE), 64)
    assert len(set(drawn)) == 64


def test_64_draws_of_a_gaussian_process_never_repeat() -> None:
    drawn = draw_all(spec_of(sampler="gp", space=GRID_LIKE), 24)
    assert len(set(drawn)) == 24


def test_parallel_workers_draw_distinct_points() -> None:
    """None has told its result yet when the others draw."""
    drawn = draw_all(spec_of(space=GRID_LIKE), 64, told=False)
    assert len(set(drawn)) == 64


@pytest.mark.parametrize("seed", [6, 9, 11])
def test_a_finite_space_is_used_up_before_anything_repeats(seed: int) -> None:
    drawn = draw_all(spec_of(sampler="random", seed=seed, space=GRID_LIKE), 125, told=False)
    assert len(set(drawn)) == 125


def test_a_used_up_space_repeats_instead_of_hanging() -> None:
    space = {**GRID_LIKE, "mask_ratio": 0.3, "gloss_weight": 0.5}
    drawn = draw_all(spec_of(sampler="random", space=space), 7)
    assert len(set(drawn)) == 5


def test_continuous_draws_stay_within_the_space() -> None:
    spec = spec_of(sampler="tpe")
    for number, draw in enumerate(draw_all(spec, 25)):
        for searched, value in zip(spec.ranges, draw, strict=True):
            assert searched.low is not None
            assert searched.high is not None
            assert searched.low <= value <= searched.high, number
            assert isinstance(value, int) == searched.is_integer


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_each_trial_has_a_seed_of_its_own_and_each_study_another(sampler: str) -> None:
    def first_draws(seed: int) -> list[tuple[Any, ...]]:
        """The first draw of six workers that all see an empty study."""
        spec = spec_of(sampler=sampler, seed=seed)
        space = {r.name: distribution_of(r) for r in spec.ranges}
        draws = []
        for number in range(6):
            study = optuna.create_study(sampler=build_sampler(spec, number))
            draws.append(tuple(study.ask(space).params.values()))
        return draws

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    assert len(set(first_draws(0))) == 6
    assert first_draws(0) == first_draws(0)  # whoever draws, in whatever process
    assert not set(first_draws(0)) & set(first_draws(1))


def test_quasi_random_trials_continue_one_sequence() -> None:
    """Sobol' points fill the square: each of the 16 cells of a 4 × 4 grid holds one of the first 16."""
    spec = spec_of(
        sampler="qmc",
        space={
            "mask_ratio": {},
            "gloss_weight": {},
            "temperature": 1,
            "lpa_iterations": 3,
            "learning_rate": 1e-4,
        },
    )
    drawn = draw_all(spec, 16)
    cells = {(int((a - 0.1) / 0.8 * 4), int((b - 0.1) / 0.8 * 4)) for a, b in drawn}
    assert len(cells) >= 14  # the sequence opens with its origin moved, so that one or two cells may double


def test_queued_parameters_are_kept_and_the_others_drawn() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spec = spec_of(space=GRID_LIKE)
    space = {r.name: distribution_of(r) for r in spec.ranges}
    study = optuna.create_study(sampler=build_sampler(spec, 0))
    study.enqueue_trial({"mask_ratio": 0.2})
    study.enqueue_trial({"mask_ratio": 0.1, "temperature": 0.2, "gloss_weight": 0.3})
    assert study.ask(space).params["mask_ratio"] == 0.2
    assert study.ask(space).params == {"mask_ratio": 0.1, "temperature": 0.2, "gloss_weight": 0.3}


def test_nobody_draws_what_waits_in_the_queue() -> None:
    """Two points, one of them queued with a later trial: the earlier one must draw the other."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spec = spec_of(
        trials=2,
        space={
            "mask_ratio": {"choices": [0.2, 0.8]},
            "temperature": 1,
            "lpa_iterations": 3,
            "learning_rate": 1e-4,
        },
    )
    for seed in range(5):
        study = optuna.create_study(sampler=build_sampler(spec, seed))
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.WAITING, system_attrs={"fixed_params": {"mask_ratio": 0.8}}
            )
        )
        sampler = study.sampler
        trial = optuna.trial.create_trial(state=TrialState.RUNNING)
        trial.number = 1
        assert sampler.sample_relative(study, trial, {"mask_ratio": CategoricalDistribution([0.2, 0.8])}) == {
            "mask_ratio": 0.2
        }


@pytest.mark.parametrize(
    ("name", "kind"), [("tpe", TPESampler), ("gp", GPSampler), ("random", RandomSampler), ("qmc", QMCSampler)]
)
def test_samplers_by_name(name: str, kind: type[BaseSampler]) -> None:
    assert type(build_sampler(spec_of(sampler=name), 0)._inner) is kind  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("median", MedianPruner),
        ("hyperband", HyperbandPruner),
        ("asha", SuccessiveHalvingPruner),
        ("none", NopPruner),
    ],
)
def test_pruners_by_name(name: str, kind: type) -> None:
    assert type(build_pruner(spec_of(pruner=name))) is kind


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
@pytest.mark.parametrize(("epochs", "first"), [(6, 3), (10, 5), (1, 1)])
def test_a_pruner_judges_from_the_middle_of_a_run_on(pruner: str, epochs: int, first: int) -> None:
    """A trial worse than all others from the start is let run until then."""
    study = optuna.create_study(
        direction="maximize", pruner=build_pruner(spec_of(pruner=pruner, train={"epochs": epochs}))
    )
    for _ in range(6):
        good = study.ask()
        for epoch in range(1, epochs + 1):
            good.report(0.9, epoch)
            assert not good.should_prune()
        study.tell(good, 0.9)
    poor = study.ask()
    judged = []
    for epoch in range(1, epochs + 1):
        poor.report(0.1, epoch)
        judged.append(poor.should_prune())
    assert judged.index(True) + 1 == first


@pytest.mark.parametrize(("epochs", "rungs"), [(6, [2, 4]), (10, [3, 6]), (1, [1]), (2, [1, 2])])
def test_asha_lets_the_better_half_go_on_at_a_third_and_at_two_thirds(epochs: int, rungs: list[int]) -> None:
    study = optuna.create_study(
        direction="maximize", pruner=build_pruner(spec_of(pruner="asha", train={"epochs": epochs}))
    )
    stopped = []
    for trial_number in range(8):
        trial = study.ask()
        for epoch in range(1, epochs + 1):
            # each is worse than those before it, until it has passed the first rung
            trial.report(
                0.9 - 0.01 * trial_number - (0.2 if epoch > rungs[0] and trial_number % 2 else 0), epoch
            )
            if trial.should_prune():
                stopped.append(epoch)
                break
        study.tell(trial, 0.5)
    assert stopped
    assert set(stopped) <= set(rungs)


def test_hyperband_divides_the_longest_run() -> None:
    for layer in ({"train": {"epochs": 27}}, {"space": {"epochs": {"low": 3, "high": 27}}}):
        pruner = build_pruner(spec_of(pruner="hyperband", **layer))
        assert isinstance(pruner, HyperbandPruner)
        assert pruner._max_resource == 27


def test_a_rebuilt_study_uses_its_own_sampler_and_pruner(tmp_path: Any) -> None:
    """Optuna's load_study alone would silently take TPE and Median."""
    from gloss_tune.study.create import create
    from gloss_tune.study.study import open_study

    url = f"sqlite:///{tmp_path}/s.db"
    create(spec_of(sampler="qmc", pruner="hyperband", rehearse=True, seed=5), url, "s")
    opened: OpenStudy = open_study(url)
    study = opened.optuna_study(3)
    assert type(study.sampler._inner) is QMCSampler  # type: ignore[attr-defined]
    assert type(study.pruner) is HyperbandPruner
    assert opened.spec.seed == 5
