"""The same fine-tune with several seeds, or on several folds, as one run whose value is their mean.

Imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from statistics import fmean
from typing import Any

from gloss_tune.finetune.config import EpochReport, FinetuneConfig
from gloss_tune.finetune.run import FinetuneRun
from gloss_tune.seeding import derive_seed

_SEEDS = 2**31

Make = Callable[[FinetuneConfig, int | None], FinetuneRun]
"""Starts one fine-tune, on a fold where its number is given."""


class Repeated:
    """Runs one fine-tune after the other and reports once for each: so a pruner may act between two seeds, or folds.

    A report's metrics are means over the trainings so far, of each one's best epoch; the last one is the run's. A state
    keeps those that are done; one that was broken off starts over, and comes out the same.

    Args:
        config: of all of them; ``config.seeds`` says how many, the first has ``config.seed``; or
            ``config.folds``, which all have it.
        make: starts one of them.
    """

    def __init__(self, config: FinetuneConfig, make: Make) -> None:
        config.validate()
        self._config = config
        self._make = make
        self._done: list[dict[str, float]] = []

    @property
    def best(self) -> EpochReport | None:
        """The mean over the trainings so far; None before the first is done."""
        return self._report() if self._done else None

    def epochs(self) -> Iterator[EpochReport]:
        """Train with one more seed, or on one more fold, for each report."""
        for number in range(len(self._done), self._config.trainings):
            fold = number if self._config.folds > 1 else None
            seed = self._seed(number) if fold is None else self._config.seed
            run = self._make(dataclasses.replace(self._config, seed=seed, seeds=1, folds=1), fold)
            for _ in run.epochs():
                pass
            assert run.best is not None
            self._done.append(dict(run.best.metrics))
            yield self._report()

    def state_dict(self) -> dict[str, Any]:
        """What each training's best epoch reached; plain values."""
        return {"config": dataclasses.asdict(self._config), "done": [dict(metrics) for metrics in self._done]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the last training that was done.

        Raises:
            ValueError: the state is of a run with another configuration.
        """
        if state["config"] != dataclasses.asdict(self._config):
            raise ValueError(
                "A state must be of a run with the same configuration, got another; start over without it"
            )
        self._done = [dict(metrics) for metrics in state["done"]]

    def _seed(self, number: int) -> int:
        return derive_seed(self._config.seed, "seeds", number) % _SEEDS if number else self._config.seed

    def _report(self) -> EpochReport:
        means = {name: fmean(metrics[name] for metrics in self._done) for name in self._done[0]}
        return EpochReport(len(self._done), means, is_best=True)


def started(config: FinetuneConfig, make: Make) -> FinetuneRun:
    """One fine-tune as ``make`` starts it, or as many as ``config.seeds`` or ``config.folds`` asks for."""
    return make(config, None) if config.trainings == 1 else Repeated(config, make)
