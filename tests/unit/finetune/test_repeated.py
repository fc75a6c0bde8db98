"""Several seeds as one run: their mean, reported seed by seed, and resumed between two of them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator

import pytest

from gloss_tune.finetune.config import TIMING_METRICS, EpochReport, FinetuneConfig
from gloss_tune.finetune.rehearsal import Rehearsal
from gloss_tune.finetune.repeated import Repeated, started

CONFIG = FinetuneConfig(epochs=4, patience=2, seeds=3, seed=5)


class Recorded:
    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.bests: list[EpochReport] = []

    def __call__(self, config: FinetuneConfig, fold: int | None) -> Rehearsal:
        assert (config.seeds, config.folds, fold) == (1, 1, None)
        recorded = self

        class Run(Rehearsal):
            def epochs(self) -> Iterator[EpochReport]:
                yield from super().epochs()
                assert self.best is not None
                recorded.bests.append(self.best)

        self.seeds.append(config.seed)
        return Run(config)


def test_the_mean_over_the_seeds_is_the_value() -> None:
    make = Recorded()
    run = Repeated(CONFIG, make)
    assert run.best is None
    reports = list(run.epochs())
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert len(set(make.seeds)) == 3
    assert make.seeds[0] == CONFIG.seed
    for number, report in enumerate(reports, start=1):
        assert report.is_best
        for name, value in report.metrics.items():
            mean = sum(best.metrics[name] for best in make.bests[:number]) / number
            assert value == pytest.approx(mean)
    assert run.best == reports[-1]


def test_the_first_seed_is_the_run_without_others() -> None:
    (alone,) = [r for r in Rehearsal(dataclasses.replace(CONFIG, seeds=1)).epochs() if r.is_best][-1:]
    first = next(iter(Repeated(CONFIG, Recorded()).epochs()))
    assert first.metrics == alone.metrics


def test_a_run_goes_on_after_the_last_seed_that_was_done() -> None:
    whole = list(Repeated(CONFIG, Recorded()).epochs())
    broken = Repeated(CONFIG, Recorded())
    next(iter(broken.epochs()))
    state = json.loads(json.dumps(broken.state_dict()))
    make = Recorded()
    resumed = Repeated(CONFIG, make)
    resumed.load_state_dict(state)
    assert resumed.best == whole[0]
    assert list(resumed.epochs()) == whole[1:]
    assert len(make.seeds) == 2
    with pytest.raises(ValueError, match="same configuration"):
        Repeated(dataclasses.replace(CONFIG, learning_rate=1e-5), make).load_state_dict(state)


def test_one_seed_is_the_fine_tune_itself() -> None:
    run = started(dataclasses.replace(CONFIG, seeds=1), lambda one, _: Rehearsal(one))
    assert isinstance(run, Rehearsal)
    assert isinstance(started(CONFIG, lambda one, _: Rehearsal(one)), Repeated)
    assert (CONFIG.steps, dataclasses.replace(CONFIG, seeds=1).steps) == (3, 4)


def test_an_undefined_metric_leaves_the_others_alone() -> None:
    class WithoutAuc(Rehearsal):
        def _metrics(self, epoch: int) -> dict[str, float]:
            return {**super()._metrics(epoch), "val_auc": math.nan}

    *_, last = Repeated(CONFIG, lambda one, _: WithoutAuc(one)).epochs()
    undefined = [name for name, value in last.metrics.items() if math.isnan(value)]
    assert undefined == ["val_auc"]
    assert last.metrics.keys() > TIMING_METRICS
