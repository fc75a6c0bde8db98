"""Draws from the ranges' priors while there is nothing to learn from yet; then another sampler takes over."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from gloss_tune.spec import prior
from gloss_tune.spec.ranges import ParameterRange
from gloss_tune.study.wrapped_sampler import WrappedSampler

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

#: Finished trials, pruned ones included, before the sampler takes over; as many as TPE draws at random.
START_UP = 10
#: Share of the start-up trials that are drawn evenly from the whole space: a prior may be wrong.
UNIFORM_SHARE = 0.25


class PriorSampler(WrappedSampler):
    """Another sampler whose start-up draws come from the priors.

    Whether a draw is even or from the priors depends on the seed alone, so that it does not matter which worker draws.

    Args:
        inner: takes over after the start-up trials.
        ranges: every searched parameter; those without a prior are drawn evenly.
        seed: of the draws.
        start_up: how many trials must have finished before ``inner`` is asked; None for all of them.
    """

    def __init__(
        self, inner: BaseSampler, ranges: Sequence[ParameterRange], seed: int, start_up: int | None = START_UP
    ) -> None:
        super().__init__(inner)
        self._ranges = [searched for searched in ranges if searched.prior is not None]
        self._random = random.Random(seed)
        self._start_up = start_up

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """From the priors at first; what they say nothing of the inner sampler draws one by one, evenly at first."""
        if not self._starts_up(study):
            return super().sample_relative(study, trial, search_space)
        if self._random.random() < UNIFORM_SHARE:
            return {}
        drawn = {searched.name: prior.draw(searched, self._random) for searched in self._ranges}
        return {name: value for name, value in drawn.items() if name in search_space}

    def _starts_up(self, study: Study) -> bool:
        if self._start_up is None:
            return True
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return len(finished) < self._start_up
