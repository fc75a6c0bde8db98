"""Everything that a report tells of a study, read once. Nothing here writes to the storage or draws."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from gloss_tune.confirm.confirmation import confirmation_of, ranking
from gloss_tune.confirm.export import export
from gloss_tune.errors import GlossTuneError
from gloss_tune.report.importances import Importances, importances
from gloss_tune.spec.ranges import ParameterRange, Value
from gloss_tune.storage.retry import retried
from gloss_tune.storage.shared_storage import SharedStorage
from gloss_tune.storage.trial_rows import read_trials
from gloss_tune.study.doubts import doubts
from gloss_tune.study.precision import unlike
from gloss_tune.study.status import trial_counts
from gloss_tune.study.study import OpenStudy

# a value this near to the end of its range, as a part of it, is at the edge
_EDGE = 0.05


@dataclass(frozen=True)
class Cost:
    """What a study took.

    Args:
        seconds: of all finished trials, each on one device.
        pruned: of these, the seconds of pruned trials.
        saved: seconds that pruned trials would have taken to their last epoch at their own pace, at most: some
            would have stopped early by themselves.
        documents_per_second: median over the trials' best epochs of documents trained on; None in a rehearsal.
        failed: seconds of failed trials.
    """

    seconds: float
    pruned: float
    saved: float
    failed: float
    documents_per_second: float | None


@dataclass(frozen=True)
class WorkerShare:
    """What one worker did of a study.

    Args:
        name: its id.
        device: what it computed on.
        trials: how many trials it finished.
        seconds: that these took.
    """

    name: str
    device: str
    trials: int
    seconds: float


@dataclass(frozen=True)
class Facts:
    """A study as a report tells it.

    Args:
        opened: the study.
        trials: all of them, by number.
        counts: as ``status`` gives them.
        best: what ``export`` gives; None while no trial is complete.
        ranking: of its confirmation; None without one.
        importances: of the searched hyperparameters; None where there are too few trials to tell.
        at_edge: hyperparameters that the best trial has at an end of their range, with ``low`` or ``high``.
        cost: what it took.
        workers: by the trials that they finished, most first.
        reasons: why trials failed, most frequent first.
        unlike: in what the machines that computed the trials differ; None if they were alike.
    """

    opened: OpenStudy
    trials: Sequence[FrozenTrial]
    counts: Mapping[str, int]
    best: Mapping[str, Any] | None
    ranking: Mapping[str, Any] | None
    importances: Importances | None
    at_edge: Mapping[str, str]
    cost: Cost
    workers: Sequence[WorkerShare]
    reasons: Sequence[tuple[str, int]]
    unlike: str | None = None

    @property
    def finished(self) -> list[FrozenTrial]:
        """Trials with a value to show: complete and pruned ones."""
        return [trial for trial in self.trials if trial.value is not None and trial.state.is_finished()]

    @property
    def complete(self) -> list[FrozenTrial]:
        """Trials that ran to their end."""
        return [trial for trial in self.trials if trial.state == TrialState.COMPLETE]

    @property
    def doubts(self) -> list[str]:
        """What speaks against the best value."""
        best = self.top(1)
        return doubts(self.opened, best[0] if best else None, [trial.value for trial in self.complete])

    def top(self, count: int) -> list[FrozenTrial]:
        """The complete trials with the highest values, of equal ones the earlier first."""
        return sorted(self.complete, key=lambda trial: (-_value(trial), trial.number))[:count]


def gather(opened: OpenStudy) -> Facts:
    """Read a study.

    Raises:
        InputError: it is a confirmation, which is part of its study's report.
    """
    trials = _trials(opened.storage, opened.study_id)
    counts = trial_counts(opened)
    best = _best(opened)
    confirmation = confirmation_of(opened)
    return Facts(
        opened=opened,
        trials=trials,
        counts=counts,
        best=best,
        ranking=None if confirmation is None else ranking(opened),
        importances=importances(trials, [searched.name for searched in opened.spec.ranges]),
        at_edge={} if best is None else _at_edge(opened.spec.ranges, best["best"]["params"]),
        cost=_cost(opened, trials),
        workers=_workers(trials),
        reasons=_reasons(trials),
        unlike=unlike(_computed(trial) for trial in trials if trial.state.is_finished()),
    )


@retried
def _trials(storage: SharedStorage, study_id: int) -> list[FrozenTrial]:
    with storage.transaction() as session:
        return sorted(read_trials(session, study_id), key=lambda trial: trial.number)


def _best(opened: OpenStudy) -> dict[str, Any] | None:
    try:
        return export(opened, quiet=True)
    except GlossTuneError as error:
        if error.exit_code == 2:
            raise
        return None  # no trial is complete yet


def _at_edge(ranges: Sequence[ParameterRange], params: Mapping[str, Value]) -> dict[str, str]:
    found = {}
    for searched in ranges:
        value = params.get(searched.name)
        place = None if value is None else position(searched, value)
        if place is not None and min(place, 1 - place) <= _EDGE:
            found[searched.name] = "low" if place < 0.5 else "high"
    return found


def position(searched: ParameterRange, value: Value) -> float | None:
    """Where in its range a value lies, from 0 to 1, in the scale of the search; None for choices."""
    if searched.choices is not None or not isinstance(value, int | float):
        return None
    assert searched.low is not None and searched.high is not None
    low, high, at = float(searched.low), float(searched.high), float(value)
    if searched.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return 0.5 if low == high else (at - low) / (high - low)


def seconds_of(trial: FrozenTrial) -> float:
    """How long a trial's last attempt took."""
    return float(trial.user_attrs.get("seconds", 0.0))


def _value(trial: FrozenTrial) -> float:
    return -math.inf if trial.value is None else trial.value


def _planned(opened: OpenStudy, trial: FrozenTrial) -> int:
    """How many reports a trial would have given, had it not been pruned."""
    steps = opened.spec.most_steps
    return steps if opened.spec.trainings > 1 else int(trial.params.get("epochs", steps))


def _cost(opened: OpenStudy, trials: Sequence[FrozenTrial]) -> Cost:
    by_state: dict[TrialState, float] = defaultdict(float)
    saved = 0.0
    for trial in trials:
        by_state[trial.state] += seconds_of(trial)
        if trial.state == TrialState.PRUNED and trial.intermediate_values:
            planned = _planned(opened, trial)
            done = len(trial.intermediate_values)
            saved += seconds_of(trial) / done * max(planned - done, 0)
    speeds = [
        trial.user_attrs["metrics"]["train_docs_per_second"]
        for trial in trials
        if "train_docs_per_second" in trial.user_attrs.get("metrics", {})
    ]
    return Cost(
        seconds=sum(by_state.values()),
        pruned=by_state[TrialState.PRUNED],
        saved=saved,
        failed=by_state[TrialState.FAIL],
        documents_per_second=None if opened.spec.rehearse or not speeds else statistics.median(speeds),
    )


def _workers(trials: Sequence[FrozenTrial]) -> list[WorkerShare]:
    own: dict[str, list[FrozenTrial]] = defaultdict(list)
    for trial in trials:
        if trial.state.is_finished() and "worker" in trial.user_attrs:
            own[str(trial.user_attrs["worker"])].append(trial)
    shares = [
        WorkerShare(
            name, str(found[-1].user_attrs.get("device", "–")), len(found), sum(map(seconds_of, found))
        )
        for name, found in own.items()
    ]
    return sorted(shares, key=lambda share: (-share.trials, share.name))


def _computed(trial: FrozenTrial) -> tuple[str, str, str]:
    precision, device, hardware = (
        str(trial.user_attrs.get(key, "")) for key in ("precision", "device", "hardware")
    )
    return precision, device, hardware


def _reasons(trials: Sequence[FrozenTrial]) -> list[tuple[str, int]]:
    reasons = Counter(
        str(trial.user_attrs.get("error", "no reason was told"))
        for trial in trials
        if trial.state == TrialState.FAIL
    )
    return reasons.most_common()
