"""Which hyperparameters mattered: fANOVA over the complete trials, or over a sample where there are many."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.trial import FrozenTrial, TrialState

# importances of fewer trials are mostly noise, and Optuna needs two
_FEWEST = 8
# the time grows with the square of the trials: 2 s for these, 13 s for 700 and no end for 10,000
_MOST = 300


@dataclass(frozen=True)
class Importances:
    """How much of the differences between complete trials each hyperparameter explains.

    Args:
        shares: by name, summing to 1, most important first.
        trials: how many complete trials were used.
        of: how many there are.
    """

    shares: Mapping[str, float]
    trials: int
    of: int

    @property
    def sampled(self) -> bool:
        """Whether only some of the trials were used."""
        return self.trials < self.of


def importances(trials: Sequence[FrozenTrial], searched: Sequence[str]) -> Importances | None:
    """By fANOVA (Hutter et al. 2014), as Optuna computes it.

    Args:
        trials: of a study that maximises; those that are not complete are left out.
        searched: names of the hyperparameters.

    Returns:
        None where there are too few trials to tell, or nothing varies.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    varied = [name for name in searched if len({trial.params.get(name) for trial in complete}) > 1]
    sample = _sample(complete)
    if len(complete) < _FEWEST or len(varied) < 2 or len({trial.value for trial in sample}) < 2:
        return None
    return Importances(_fanova(sample, varied), len(sample), len(complete))


def _sample(complete: list[FrozenTrial]) -> list[FrozenTrial]:
    """All, or as many as there is time for: each with the same chance, the same ones every time."""
    if len(complete) <= _MOST:
        return complete
    chosen = np.random.default_rng(0).choice(len(complete), _MOST, replace=False)
    return [complete[index] for index in sorted(chosen)]


def _fanova(trials: Sequence[FrozenTrial], names: list[str]) -> dict[str, float]:
    import optuna

    talk = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a study that nobody asked for is not to be told of
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler())
            study.add_trials(trials)
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=names)
    finally:
        optuna.logging.set_verbosity(talk)
    return {name: float(share) for name, share in found.items()}
