"""Learning curves for any setting, from recorded ones: what a whole search is replayed on.

A setting's curve is that of a recorded trial near it, drawn with a weight that falls with the distance: so epochs
deviate together, and trials fail, as they did in truth. How fast the weight falls along each hyperparameter is fitted
by leaving each trial out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.stats import spearmanr

from gloss_tune.spec.ranges import ParameterRange

_SEARCHED_FOR_BEST = 20_000


@dataclass(frozen=True)
class Recorded:
    """Recorded trials of one data set.

    Args:
        dataset: its name.
        ranges: where they were drawn.
        params: of each trial, in the same order as ``scores``.
        scores: (trials, epochs).
    """

    dataset: str
    ranges: Mapping[str, ParameterRange]
    params: list[dict[str, float]]
    scores: np.ndarray

    @classmethod
    def read(cls, file: Path, ranges: Mapping[str, ParameterRange]) -> Recorded:
        """From a ``curves.json``; trials that are shorter than the longest are left out."""
        found = json.loads(file.read_text(encoding="utf-8"))
        longest = max(len(trial["scores"]) for trial in found["trials"])
        whole = [trial for trial in found["trials"] if len(trial["scores"]) == longest]
        return cls(
            found["dataset"],
            ranges,
            [trial["params"] for trial in whole],
            np.array([trial["scores"] for trial in whole], dtype=float),
        )

    def coordinates(self, params: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """(trials, hyperparameters), each from 0 to 1 over its range."""
        columns = []
        for name, searched in self.ranges.items():
            values = np.array([float(one[name]) for one in params])
            low, high = searched.ends()
            if searched.log:
                values, low, high = np.log(values), np.log(low), np.log(high)
            columns.append((values - low) / (high - low))
        return np.stack(columns, axis=1)


class Surrogate:
    """Curves for any setting of the recorded ranges.

    Args:
        recorded: what it is fitted to.
    """

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded
        self._places = recorded.coordinates(recorded.params)
        self._bests = recorded.scores.max(axis=1)
        self._scales = _fitted_scales(self._places, self._bests)
        drawn = np.random.default_rng(0).random((_SEARCHED_FOR_BEST, self._places.shape[1]))
        scores = self._expected(drawn)
        #: The highest expected score of any setting.
        self.best = float(scores.max())
        #: Share of the space that is within 0.005 and within 0.01 of the best.
        self.shares = tuple(float((scores >= self.best - off).mean()) for off in (0.005, 0.01))
        weights = _weights(drawn[[int(scores.argmax())]], self._places, self._scales)[0]
        #: Standard deviation of a trial's score at the best setting.
        self.noise = float(np.sqrt(weights @ (self._bests - self.best) ** 2))

    def expected(self, params: Mapping[str, Any]) -> float:
        """What a setting's best epoch has on average, which no single trial shows."""
        return float(self._expected(self.recorded.coordinates([params]))[0])

    def curve(self, params: Mapping[str, Any], seed: int) -> list[float]:
        """One trial's scores, epoch by epoch."""
        weights = _weights(self.recorded.coordinates([params]), self._places, self._scales)[0]
        chosen = np.random.default_rng(seed).choice(len(weights), p=weights)
        return [float(score) for score in self.recorded.scores[chosen]]

    def held_out(self) -> Fit:
        """How good it is on trials that it has not seen: each is predicted from all others."""
        predicted = _left_out(self._places, self._bests, self._scales)
        squared = (self._bests - predicted) ** 2
        return Fit(
            float(1 - squared.sum() / ((self._bests - self._bests.mean()) ** 2).sum()),
            float(spearmanr(self._bests, predicted).statistic),
            float(np.sqrt(squared.mean())),
        )

    def _expected(self, places: np.ndarray) -> np.ndarray:
        return _weights(places, self._places, self._scales) @ self._bests


@dataclass(frozen=True)
class Fit:
    """How good a surrogate is on held-out trials.

    Args:
        r2: explained share of the variance of a trial's best score.
        rank: Spearman's correlation of predicted and recorded best scores.
        error: root mean squared error of the best score.
    """

    r2: float
    rank: float
    error: float


def _weights(places: np.ndarray, known: np.ndarray, scales: np.ndarray, *, own: bool = True) -> np.ndarray:
    """(settings, recorded trials), each row adding up to 1; without ``own``, none has a weight for itself."""
    squared = (((places[:, None] - known[None]) / scales) ** 2).sum(axis=2)
    if not own:
        np.fill_diagonal(squared, np.inf)
    found = np.exp(-0.5 * (squared - squared.min(axis=1, keepdims=True)))
    return found / found.sum(axis=1, keepdims=True)


def _left_out(places: np.ndarray, bests: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return _weights(places, places, scales, own=False) @ bests


def _fitted_scales(places: np.ndarray, bests: np.ndarray) -> np.ndarray:
    """The distance along each hyperparameter at which a trial says little, by leaving each out."""

    def error(logs: np.ndarray) -> float:
        return float(np.abs(bests - _left_out(places, bests, np.exp(logs))).mean())

    starts = [np.log(np.full(places.shape[1], scale)) for scale in (0.05, 0.1, 0.2, 0.5)]
    bounds = [(np.log(0.05), np.log(10.0))] * places.shape[1]
    found = [minimize(error, start, method="Nelder-Mead", bounds=bounds) for start in starts]
    return np.exp(min(found, key=lambda one: float(one.fun)).x)
