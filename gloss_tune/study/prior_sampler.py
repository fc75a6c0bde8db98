"""Draws from the ranges' priors while there is nothing to learn from yet; then another sampler takes over."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from gloss_tune.spec import prior
from gloss_tune.spec.ranges import ParameterRange

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

#: Finished trials, pruned ones included, before the sampler takes over; as many as TPE draws at random.
START_UP = 10
#: Share of the start-up trials that are drawn evenly from the whole space: a prior may be wrong.
UNIFORM_SHARE = 0.25


class PriorSampler(BaseSampler):
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
        self._inner = inner
        self._ranges = [searched for searched in ranges if searched.prior is not None]
        self._random = random.Random(seed)
        self._start_up = start_up

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the inner sampler has it."""
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """From the priors at first; what they say nothing of is left to :meth:`sample_independent`."""
        if not self._starts_up(study):
            return self._inner.sample_relative(study, trial, search_space)
        if self._random.random() < UNIFORM_SHARE:
            return {}
        drawn = {searched.name: prior.draw(searched, self._random) for searched in self._ranges}
        return {name: value for name, value in drawn.items() if name in search_space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """By the inner sampler, which draws evenly at first."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Pass on to the inner sampler."""
        self._inner.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Pass on to the inner sampler."""
        self._inner.after_trial(study, trial, state, values)

    def _starts_up(self, study: Study) -> bool:
        if self._start_up is None:
            return True
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return len(finished) < self._start_up
