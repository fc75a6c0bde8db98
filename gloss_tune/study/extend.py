"""More trials for a study that is there: its budget grows in one transaction, whoever works on it meanwhile."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gloss_tune.errors import InputError, SpecError
from gloss_tune.logging import logger
from gloss_tune.queue.budget import Growth, grow
from gloss_tune.spec.build import first_trial_faults
from gloss_tune.spec.space import grid_points, grid_size, space_size
from gloss_tune.spec.spec import StudySpec
from gloss_tune.study.samplers import known_params
from gloss_tune.study.study import EXTENSIONS, SPEC, OpenStudy
from gloss_tune.wording import count

MOST_TRIALS = 1_000_000


@dataclass(frozen=True)
class Extended:
    """What became of a study's budget.

    Args:
        added: how many trials this call added.
        trials: how many there are now, those of other tools included.
        repeated: whether an earlier call with the same token had added them already.
    """

    added: int
    trials: int
    repeated: bool = False


def extend(opened: OpenStudy, trials: int, token: str | None = None) -> Extended:
    """Queue so many trials more. A finished study has work again, a running one goes on.

    A grid goes on with the points that it has left; a finite space is never given more trials than it has points.

    Args:
        opened: the study, opened for writing.
        trials: how many more, at least 1.
        token: any name for this extension: a second call with the same one adds nothing.

    Raises:
        InputError: if the study is a confirmation, or has no points left. Nothing was written.
    """
    if not 1 <= trials <= MOST_TRIALS:
        raise InputError(f"A study is extended by 1 to {MOST_TRIALS:,} trials, got {trials}; change --trials")

    def params(spec: StudySpec, there: int, drawn: int) -> list[dict[str, Any]]:
        left = _points_left(spec, drawn if spec.sampler == "grid" else there)
        if left is not None and left < trials:
            what = "grid" if spec.sampler == "grid" else "space"
            if not left:
                raise InputError(
                    f"The {what} of study {opened.name!r} has no points left: each has its trial. "
                    "Make a study with a larger space ('gloss-tune create --from' begins with this one's best)"
                )
            logger.warning("The %s has %d points left: %d trials instead of %d.", what, left, left, trials)
        number = trials if left is None else min(left, trials)
        if spec.sampler == "grid":
            return grid_points(spec.ranges, spec.seed)[drawn : drawn + number]
        return [{}] * number

    return _grow(opened, params, "extend", token)


def enqueue(opened: OpenStudy, params: Mapping[str, Any], token: str | None = None) -> Extended:
    """Queue one trial more, with parameters given; what is left out of them is drawn when it is claimed.

    Args:
        opened: the study, opened for writing.
        params: searched hyperparameters, each within its range.
        token: any name for this trial: a second call with the same one adds nothing.

    Raises:
        SpecError: if a parameter is not searched, or lies outside its range. Nothing was written.
        InputError: if the study is a confirmation, or has a trial with these parameters.
    """
    if not params:
        raise InputError(
            "A trial is enqueued with at least one parameter; 'gloss-tune extend' adds trials without"
        )
    faults = first_trial_faults(dict(params), opened.spec)
    if faults:
        raise SpecError([f"enqueue: {fault}" for fault in faults])
    if opened.spec.sampler == "grid" and dict(params) in grid_points(opened.spec.ranges, opened.spec.seed):
        raise InputError(
            f"The grid of study {opened.name!r} has this point; 'gloss-tune extend' adds the points that are left"
        )
    if set(params) == set(opened.spec.space):
        for trial in opened.storage.get_all_trials(opened.study_id, deepcopy=False):
            if known_params(trial) == dict(params):
                raise InputError(
                    f"Study {opened.name!r} has these parameters already, in trial {trial.number}; "
                    "none is tried twice ('gloss-tune confirm' repeats the best with other seeds)"
                )
    return _grow(opened, lambda *_: [dict(params)], "enqueue", token)


def _grow(
    opened: OpenStudy,
    params: Callable[[StudySpec, int, int], list[dict[str, Any]]],
    kind: str,
    token: str | None,
) -> Extended:
    if opened.confirms is not None:
        raise InputError(
            f"Study {opened.name!r} is the confirmation of {opened.confirms['study']!r}; more seeds or settings are "
            "added by 'gloss-tune confirm --seeds S --top K'"
        )
    token = token or secrets.token_hex(8)  # a repeat after a lost answer must add nothing either
    outcome = Extended(0, 0)

    def planned(stored: Mapping[str, Any], there: int) -> Growth:
        nonlocal outcome
        earlier: Sequence[Mapping[str, Any]] = stored.get(EXTENSIONS, [])
        done = next((entry for entry in earlier if entry["token"] == token), None)
        if done is not None:
            outcome = Extended(0, there, repeated=True)
            return Growth({}, [])
        spec = stored[SPEC]
        current = opened.spec.model_copy(update={"trials": spec["trials"]})
        given = sum(entry["trials"] for entry in earlier if entry["kind"] == "enqueue")
        new = params(current, there, current.trials - given)
        if there + len(new) > MOST_TRIALS:
            raise InputError(
                f"A study has at most {MOST_TRIALS:,} trials; this one has {there:,}, and {len(new):,} more were "
                "asked for; ask for fewer"
            )
        outcome = Extended(len(new), there + len(new))
        record = {"kind": kind, "token": token, "trials": len(new)}
        return Growth(
            {SPEC: {**spec, "trials": spec["trials"] + len(new)}, EXTENSIONS: [*earlier, record]}, new
        )

    grow(opened.storage, opened.study_id, [SPEC, EXTENSIONS], planned)
    return outcome


def _points_left(spec: StudySpec, there: int) -> int | None:
    """How many points of a finite space have no trial yet; None if it is not finite."""
    size = grid_size(spec.ranges) if spec.sampler == "grid" else space_size(spec.ranges)
    return None if size is None else max(0, size - there)


def budget_text(extended: Extended, name: str) -> str:
    """What was done, in a sentence."""
    if extended.repeated:
        return f"Study {name} was extended so before: nothing was added, it has {count(extended.trials, 'trial')}."
    return f"Study {name} has {count(extended.added, 'trial')} more, {extended.trials} in all."
