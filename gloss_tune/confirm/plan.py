"""Which runs confirm a study: its best settings, each with the same fresh seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from optuna.trial import TrialState

from gloss_tune.seeding import derive_seed
from gloss_tune.spec.ranges import Value
from gloss_tune.spec.space import SEED_RANGE
from gloss_tune.storage.trial_states import best_complete
from gloss_tune.study.results import complete_trial
from gloss_tune.study.study import OpenStudy


@dataclass(frozen=True)
class Candidate:
    """A trial whose setting is to be confirmed.

    Args:
        number: of the trial in its study.
        value: what it reached there.
        params: what it drew.
    """

    number: int
    value: float
    params: Mapping[str, Value]


@dataclass(frozen=True)
class Plan:
    """The runs of a confirmation: every candidate with every seed.

    Args:
        top: how many candidates were asked for, at most so far.
        candidates: the settings, in the order in which they were chosen; no two are the same.
        seeds: the same for all, so that results can be compared in pairs.
    """

    top: int
    candidates: tuple[Candidate, ...]
    seeds: tuple[int, ...]

    def runs(self) -> list[tuple[Candidate, int]]:
        """All runs, seed after seed: those that are done first can be compared, and one bad setting is no series."""
        return [(candidate, seed) for seed in self.seeds for candidate in self.candidates]

    def grown(self, wanted: Plan) -> Plan:
        """With what ``wanted`` has more; nothing is ever taken out."""
        known = [candidate.params for candidate in self.candidates]
        new = [candidate for candidate in wanted.candidates if candidate.params not in known]
        more = [seed for seed in wanted.seeds if seed not in self.seeds]
        return Plan(max(self.top, wanted.top), (*self.candidates, *new), (*self.seeds, *more))

    def runs_beyond(self, earlier: Plan) -> list[tuple[Candidate, int]]:
        """The runs that ``earlier``, from which this one has grown, does not have."""
        numbers = {candidate.number for candidate in earlier.candidates}
        return [(c, seed) for c, seed in self.runs() if c.number not in numbers or seed not in earlier.seeds]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Plan:
        """What :meth:`to_dict` gave."""
        candidates = tuple(Candidate(c["number"], c["value"], c["params"]) for c in stored["candidates"])
        return cls(int(stored["top"]), candidates, tuple(stored["seeds"]))


def best_settings(opened: OpenStudy, top: int) -> tuple[Candidate, ...]:
    """The best complete trials, best first; of those with the same parameters the best alone, so maybe fewer."""
    count = top
    while True:
        ranked = best_complete(opened.storage, opened.study_id, count)
        found: list[Candidate] = []
        for number, value in ranked:
            params = complete_trial(opened, number).params
            if params not in [candidate.params for candidate in found]:
                found.append(Candidate(number, value, params))
        if len(found) >= top or len(ranked) < count:
            return tuple(found[:top])
        count *= 2


def settings_of(opened: OpenStudy, numbers: Collection[int]) -> tuple[Candidate, ...]:
    """The settings of these trials; one that is not complete is left out."""
    found = []
    for trial in opened.storage.get_all_trials(opened.study_id, deepcopy=False):
        if trial.number in numbers and trial.state == TrialState.COMPLETE and trial.value is not None:
            found.append(Candidate(trial.number, trial.value, trial.params))
    return tuple(found)


def fresh_seeds(seed: int, count: int) -> tuple[int, ...]:
    """Seeds for a study's confirmation: the same at every call, no two alike, and never the study's own.

    More of them begin with the same ones.

    Args:
        seed: of the study.
        count: how many.
    """
    found: list[int] = []
    index = 0
    while len(found) < count:
        drawn = derive_seed(seed, "confirm", index) % (SEED_RANGE["high"] + 1)
        if drawn != seed and drawn not in found:
            found.append(drawn)
        index += 1
    return tuple(found)
