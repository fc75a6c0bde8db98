"""What a given time is spent on: arithmetic on measured speeds, which runs nothing and asks no clock.

A trial trains ``epochs`` epochs on ``docs`` documents and validates after each. Of the time, up to 28 % confirm the
best settings, up to 20 % train the final model, a little writes the report, and the search has the rest.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from gloss_tune.errors import InputError
from gloss_tune.wording import count, duration

#: Confirmations worth their time, the best first: settings (the customary one comes on top) and seeds.
CONFIRMATIONS = ((3, 5), (3, 3), (2, 3), (1, 3), (1, 2))
CONFIRM_SHARE, RETRAIN_SHARE = 0.28, 0.20
_WANTED_TRIALS, _FEWEST_TRIALS, _MOST_QUEUED = 16, 4, 1000
_FEWEST_EPOCHS = 2
# pictures, importances, one HTML file
_REPORT_SECONDS = 12.0
_SHORTEST_TRIAL = 0.02
_FEWER_VAL = (5000, 2000, 1000, 500, 250)


@dataclass(frozen=True)
class Speed:
    """What was measured before the plan.

    Args:
        batch_size: documents in a step.
        step_seconds: one training step.
        document_seconds: one document of validation.
        fixed_seconds: of a trial that is simulated; None for a real one.
        trainings: of a trial, which has several seeds or folds.
        seeds: of a trial; each of its runs in a confirmation has one.
    """

    batch_size: int
    step_seconds: float
    document_seconds: float
    fixed_seconds: float | None = None
    trainings: int = 1
    seeds: int = 1


@dataclass(frozen=True)
class Sizes:
    """How many documents and classes a data set has."""

    train: int
    val: int
    test: int
    classes: int


@dataclass(frozen=True)
class Given:
    """What the user has decided; None where that is left to the plan, False where to the run."""

    trials: int | None = None
    epochs: int | None = None
    max_train_docs: int | None = None
    max_val_docs: int | None = None
    class_weights: bool = False


@dataclass(frozen=True)
class TimePlan:
    """How a time is to be spent.

    Args:
        seconds: of it, from now; None for as long as it takes.
        trials: to begin with; as many follow as the search has time for, unless the user said how many.
        open_ended: whether trials follow.
        epochs: of a trial at most.
        max_train_docs: documents that a trial trains on; None for all.
        max_val_docs: documents that it validates on; None for all.
        trial_seconds: what a trial takes that is neither pruned nor ends early.
        top: settings to confirm, without the customary one; 0 to confirm nothing.
        seeds: of each.
        retrain_docs: documents of the final training; None for all.
        confirm_seconds: reserved for confirming.
        retrain_seconds: for the final training.
        report_seconds: for the report.
    """

    seconds: float | None
    trials: int
    open_ended: bool
    epochs: int
    max_train_docs: int | None
    max_val_docs: int | None
    trial_seconds: float
    top: int
    seeds: int
    retrain_docs: int | None
    confirm_seconds: float
    retrain_seconds: float
    report_seconds: float

    @property
    def search_seconds(self) -> float:
        """What is left for the search."""
        return (self.seconds or math.inf) - self.confirm_seconds - self.retrain_seconds - self.report_seconds

    def to_dict(self) -> dict[str, Any]:
        """As plain values, fit for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people: what will be done with the time."""
        docs = (
            "all training documents"
            if self.max_train_docs is None
            else count(self.max_train_docs, "document")
        )
        if self.max_val_docs is not None:
            docs += f", validated on {self.max_val_docs}"
        more = "; as many more as there is time for" if self.open_ended else ""
        confirming = (
            f"the best {count(self.top, 'setting')} and the customary one, with {count(self.seeds, 'fresh seed')} each"
            if self.top
            else "nothing: there is no time for it"
        )
        final = "all documents" if self.retrain_docs is None else f"{self.retrain_docs} documents"
        return [
            f"search    {duration(self.search_seconds)}: {count(self.trials, 'trial')} of {self.epochs} epochs at most "
            f"on {docs}, about {duration(self.trial_seconds)} each{more}",
            f"confirm   {duration(self.confirm_seconds)}: {confirming}",
            f"retrain   {duration(self.retrain_seconds)}: the winner on {final}",
            f"report    {duration(self.report_seconds)}",
        ]


def unlimited(trials: int, epochs: int, max_train_docs: int | None) -> TimePlan:
    """A plan for as long as it takes: the trials that were asked for, the best confirmation, all documents."""
    top, seeds = CONFIRMATIONS[0]
    return TimePlan(
        seconds=None,
        trials=trials,
        open_ended=False,
        epochs=epochs,
        max_train_docs=max_train_docs,
        max_val_docs=None,
        trial_seconds=0.0,
        top=top,
        seeds=seeds,
        retrain_docs=None,
        confirm_seconds=0.0,
        retrain_seconds=0.0,
        report_seconds=0.0,
    )


def least_time(
    seconds: float, speed: Speed, sizes: Sizes, epochs: int, *, workers: int = 1, given: Given | None = None
) -> float:
    """The shortest time, ``seconds`` at least, that :func:`plan_time` has a plan for; to ten percent or so."""
    given = given or Given()
    fewest, longer = _numbers(given)[-1], seconds
    while _with_trials(longer, speed, sizes, epochs, workers, given, fewest) is None:
        longer *= 1.1
    return longer


def plan_time(
    seconds: float,
    speed: Speed,
    sizes: Sizes,
    epochs: int,
    *,
    workers: int = 1,
    given: Given | None = None,
    spent: float = 0.0,
) -> TimePlan:
    """Spend a time.

    Args:
        seconds: from now.
        speed: of this machine, with this encoder and these data.
        sizes: of the data set.
        epochs: of a trial that has all the time it wants.
        workers: trials at the same time.
        given: what is decided already.
        spent: of the time that the user gave, before now.

    Raises:
        InputError: the time is too short for a few small trials, a small final training and a report; says how long
            it must be.
    """
    given = given or Given()
    for trials in _numbers(given):
        plan = _with_trials(seconds, speed, sizes, epochs, workers, given, trials)
        if plan is not None:
            return plan
    least = least_time(seconds, speed, sizes, epochs, workers=workers, given=given)
    raise InputError(
        f"--time {duration(spent + seconds)} is too short here: a few trials, a final training and a report take "
        f"about {duration(spent + least)}. Give that, or fewer --trials, --epochs or --max-train-docs"
    )


def _numbers(given: Given) -> tuple[int, ...]:
    return (_WANTED_TRIALS, 12, 8, 6, _FEWEST_TRIALS) if given.trials is None else (given.trials,)


def _with_trials(
    seconds: float, speed: Speed, sizes: Sizes, epochs: int, workers: int, given: Given, trials: int
) -> TimePlan | None:
    """A plan in which so many trials fit at least; None if they cannot be that short."""
    report = min(_report_seconds(speed, sizes), 0.25 * seconds)
    free = seconds - report
    search = (1 - CONFIRM_SHARE - RETRAIN_SHARE) * free
    fitted = _with_validation(search * workers / trials / speed.trainings, speed, sizes, epochs, given)
    if fitted is None:
        return None
    (own_epochs, docs), val = fitted
    sizes = replace(sizes, val=val or sizes.val)
    trial = speed.trainings * _trial_seconds(speed, sizes, own_epochs, docs or sizes.train)
    again = trial / speed.seeds
    retrain, retrain_docs = final_training(RETRAIN_SHARE * free, speed, sizes, own_epochs)
    if retrain > 1.5 * RETRAIN_SHARE * free:
        return None
    top, seeds = next(
        (pair for pair in CONFIRMATIONS if confirming_seconds(*pair, again, workers) <= CONFIRM_SHARE * free),
        (0, 0),
    )
    confirming = confirming_seconds(top, seeds, again, workers) if top else 0.0
    search = free - confirming - retrain
    if math.ceil(trials / workers) * trial > 1.2 * search:
        return None
    number = given.trials or max(trials, min(_MOST_QUEUED, int(0.5 * search * workers / trial)))
    return TimePlan(
        seconds=seconds,
        trials=number,
        open_ended=given.trials is None,
        epochs=own_epochs,
        max_train_docs=docs,
        max_val_docs=val,
        trial_seconds=trial,
        top=top,
        seeds=seeds,
        retrain_docs=retrain_docs,
        confirm_seconds=confirming,
        retrain_seconds=retrain,
        report_seconds=report,
    )


def _with_validation(
    budget: float, speed: Speed, sizes: Sizes, epochs: int, given: Given
) -> tuple[tuple[int, int | None], int | None] | None:
    """:func:`_fitted`, and how many documents to validate on: all, or as many as leave half of the time to training."""
    whole = min(sizes.val, given.max_val_docs or sizes.val)
    fewer = [] if given.max_val_docs else [number for number in _FEWER_VAL if number < whole]
    fallback = None
    for val in (whole, *fewer):
        fitted = _fitted(budget, speed, replace(sizes, val=val), epochs, given)
        if fitted is None:
            continue
        found = (fitted, None if val == sizes.val else val)
        validating = fitted[0] * val * speed.document_seconds
        trial = _trial_seconds(speed, replace(sizes, val=val), fitted[0], fitted[1] or sizes.train)
        if speed.fixed_seconds is not None or validating <= 0.5 * trial:
            return found
        fallback = fallback or found
    return fallback


def _fitted(
    budget: float, speed: Speed, sizes: Sizes, epochs: int, given: Given
) -> tuple[int, int | None] | None:
    """Epochs and documents of a trial that takes no longer: all documents if possible, else a part of them."""
    wanted = given.epochs or epochs
    whole = given.max_train_docs
    if speed.fixed_seconds is not None:
        return (wanted, whole) if speed.fixed_seconds <= budget else None
    docs = sizes.train if whole is None else min(whole, sizes.train)
    fewest = wanted if given.epochs is not None else min(wanted, _FEWEST_EPOCHS)
    for number in range(wanted, fewest - 1, -1):
        if _trial_seconds(speed, sizes, number, docs) <= budget:
            return number, whole
    if whole is not None:
        return None
    left = budget / fewest - sizes.val * speed.document_seconds
    fitting = int(left / speed.step_seconds * speed.batch_size)
    least = min(sizes.train, max(64, 8 * sizes.classes))
    return (fewest, min(fitting, docs)) if fitting >= least else None


def final_training(share: float, speed: Speed, sizes: Sizes, epochs: int) -> tuple[float, int | None]:
    """Seconds and documents of the final training: all of them if that fits into its share."""
    if speed.fixed_seconds is not None:
        return 0.0, None
    testing = sizes.test * speed.document_seconds
    whole = _trial_seconds(speed, sizes, epochs, sizes.train) + testing
    if whole <= share:
        return whole, None
    left = (share - testing) / epochs - sizes.val * speed.document_seconds
    docs = max(int(left / speed.step_seconds) * speed.batch_size, 2 * speed.batch_size, 8 * sizes.classes)
    docs = min(docs, sizes.train)
    return _trial_seconds(speed, sizes, epochs, docs) + testing, docs


def _trial_seconds(speed: Speed, sizes: Sizes, epochs: int, docs: int) -> float:
    if speed.fixed_seconds is not None:
        return max(speed.fixed_seconds, _SHORTEST_TRIAL)
    steps = math.ceil(min(docs, sizes.train) / speed.batch_size)
    return epochs * (steps * speed.step_seconds + sizes.val * speed.document_seconds)


def confirming_seconds(top: int, seeds: int, again: float, workers: int) -> float:
    """What so many settings and the customary one take with so many seeds each; ``again``: seconds of one such run."""
    return math.ceil((top + 1) * seeds / workers) * again


def _report_seconds(speed: Speed, sizes: Sizes) -> float:
    mapped = 0.0 if speed.fixed_seconds is not None else 2 * min(sizes.val, 2000) * speed.document_seconds
    return _REPORT_SECONDS + mapped
