import dataclasses
import time

import pytest

from gloss_tune.errors import SpecError
from gloss_tune.finetune.checkpoint import load_checkpoint, save_checkpoint
from gloss_tune.finetune.config import FinetuneConfig
from gloss_tune.finetune.rehearsal import Rehearsal

GOOD = FinetuneConfig(learning_rate=1e-4, temperature=0.1, mask_ratio=0.4, lpa_iterations=8, patience=20)


def score(**changes: object) -> float:
    run = Rehearsal(dataclasses.replace(GOOD, **changes))
    list(run.epochs())
    assert run.best is not None
    return run.best.metrics["val_macro_f1"]


def test_equal_configurations_give_equal_reports_at_any_pace() -> None:
    assert (
        list(Rehearsal(GOOD).epochs())[2].metrics["val_accuracy"]
        == (list(Rehearsal(GOOD, seconds=0.2).epochs())[2].metrics["val_accuracy"])
    )


def test_the_seed_moves_the_score_a_little() -> None:
    scores = {score(seed=seed) for seed in range(8)}
    assert len(scores) == 8
    assert max(scores) - min(scores) < 0.05


@pytest.mark.parametrize(
    "worse",
    [
        {"learning_rate": 1e-6},
        {"learning_rate": 1e-3},
        {"temperature": 2.0},
        {"temperature": 0.01},
        {"mask_ratio": 0.9},
        {"lpa_iterations": 50},
        {"gloss_weight": 0.0},
    ],
)
def test_the_optimum_is_where_it_is_said_to_be(worse: dict[str, object]) -> None:
    seeds = range(5)
    assert sum(score(seed=seed) for seed in seeds) > sum(score(seed=seed, **worse) for seed in seeds)


def test_scores_rise_and_a_high_rate_falls_again() -> None:
    good = [report.metrics["val_macro_f1"] for report in Rehearsal(GOOD).epochs()]
    high = [
        report.metrics["val_macro_f1"]
        for report in Rehearsal(dataclasses.replace(GOOD, learning_rate=1e-3)).epochs()
    ]
    assert good[0] < good[1] < good[2]
    assert high[-1] < max(high) - 0.1


def test_patience_ends_it() -> None:
    run = Rehearsal(dataclasses.replace(GOOD, learning_rate=1e-3, epochs=30, patience=2))
    reports = list(run.epochs())
    assert run.best is not None
    assert len(reports) == run.best.epoch + 2 < 30


def test_best_is_the_first_highest_report() -> None:
    run = Rehearsal(GOOD)
    reports = list(run.epochs())
    values = [report.metrics["val_macro_f1"] for report in reports]
    assert run.best == reports[values.index(max(values))]
    assert [report.is_best for report in reports] == [
        value > max([-1, *values[:i]]) for i, value in enumerate(values)
    ]


def test_a_resumed_rehearsal_equals_the_uninterrupted_one(tmp_path) -> None:
    expected = list(Rehearsal(GOOD).epochs())
    first = Rehearsal(GOOD)
    epochs = first.epochs()
    assert [next(epochs), next(epochs)] == expected[:2]
    save_checkpoint(tmp_path / "checkpoint", first.state_dict())
    second = Rehearsal(GOOD)
    second.load_state_dict(load_checkpoint(tmp_path / "checkpoint"))
    assert second.best == first.best
    assert list(second.epochs()) == expected[2:]


def test_it_takes_its_time_in_short_sleeps() -> None:
    calls = []
    started = time.monotonic()
    list(
        Rehearsal(dataclasses.replace(GOOD, epochs=2), seconds=0.4, on_step=lambda: calls.append(1)).epochs()
    )
    assert time.monotonic() - started >= 0.4
    assert len(calls) >= 8  # a sleep lasts 0.05 s at most


def test_without_seconds_on_step_is_called_each_epoch_and_may_raise() -> None:
    calls = []

    def on_step() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    run = Rehearsal(GOOD, on_step=on_step)
    with pytest.raises(KeyboardInterrupt):
        list(run.epochs())
    assert run.state_dict()["stopping"]["epoch"] == 2


def test_an_invalid_configuration_is_refused() -> None:
    with pytest.raises(SpecError, match="mask_ratio"):
        Rehearsal(dataclasses.replace(GOOD, mask_ratio=2.0))
