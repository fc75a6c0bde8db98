"""Is the best trial really the best? The best settings of a study, trained again with several fresh seeds each.

A confirmation is a study of its own on the same storage, named after the one that it confirms. Its trials are queued
with all parameters and a seed, so that nothing is drawn, and workers run them like any others: claimed under leases,
requeued when a worker is lost, counted exactly. It is never pruned, and it only grows: every candidate with every seed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from gloss_tune.confirm.plan import Candidate, Plan, best_settings, fresh_seeds, settings_of
from gloss_tune.confirm.ranking import Run, rank
from gloss_tune.errors import InputError
from gloss_tune.queue.budget import Growth, create_study, grow
from gloss_tune.spec.space import SEED_RANGE, Space
from gloss_tune.spec.spec import StudySpec
from gloss_tune.storage import schema
from gloss_tune.storage.shared_storage import SharedStorage
from gloss_tune.study.precision import PRECISION, study_precision
from gloss_tune.study.status import trial_counts
from gloss_tune.study.study import CONFIRMS, SPEC, OpenStudy, check_name, open_beside, to_attributes

DEFAULT_TOP, DEFAULT_SEEDS = 3, 5
#: The user attribute of a run that names the trial whose setting it has.
CANDIDATE = "candidate"

_SUFFIX = ".confirm"
_MOST_RUNS = 100_000


@dataclass(frozen=True)
class Confirmation:
    """What :func:`confirm` did.

    Args:
        study: the confirmation, whose trials workers run.
        plan: all its runs.
        added: how many of them this call queued.
        newcomers: numbers of the candidates that have come among the study's best since the last call.
    """

    study: OpenStudy
    plan: Plan
    added: int
    newcomers: tuple[int, ...]


def confirm(
    opened: OpenStudy, top: int | None = None, seeds: int | None = None, also: Collection[int] = ()
) -> Confirmation:
    """Queue the best settings of a study, each with several seeds; what is queued already stays and is not repeated.

    More settings or seeds than before add what is missing, for all candidates; fewer change nothing. Where the study
    has better settings by now, these join.

    Args:
        opened: the study, opened for writing.
        top: how many settings, at least 1; None for as many as before, at first 3.
        also: numbers of further trials whose settings to confirm with them.
        seeds: how many seeds, at least 2; None for as many as before, at first 5.

    Raises:
        InputError: if the study is a confirmation itself, has no complete trial, or its confirmation's name is taken
            by another study. Nothing was written.
    """
    _check_confirmable(opened)
    name = check_name(confirmation_name(opened.name))
    before = confirmation_of(opened)
    plan = None if before is None else _plan(before)
    top = top or (DEFAULT_TOP if plan is None else plan.top)
    seeds = seeds or (DEFAULT_SEEDS if plan is None else len(plan.seeds))
    if top < 1 or seeds < 2 or top * seeds > _MOST_RUNS:
        raise InputError(
            f"A confirmation has at least 1 setting, at least 2 seeds and at most {_MOST_RUNS:,} runs, got {top} "
            f"settings with {seeds} seeds; change --top or --seeds"
        )
    settings = best_settings(opened, top)
    if not settings:
        raise InputError(
            f"Study {opened.name!r} has no complete trial to confirm; run 'gloss-tune launch' first, "
            "'gloss-tune trials' shows how it stands"
        )
    known = [setting.params for setting in settings]
    settings += tuple(one for one in settings_of(opened, also) if one.params not in known)
    wanted = Plan(top, settings, fresh_seeds(opened.spec.seed, seeds))
    if before is None and _create(opened, name, wanted):
        made = confirmation_of(opened)
        assert made is not None
        return Confirmation(made, wanted, len(wanted.runs()), ())
    before = before or confirmation_of(opened)  # another process may just have made it
    if before is None:
        raise InputError(
            f"Study {name!r} on storage {opened.storage.redacted_url} is no confirmation of this {opened.name!r}; "
            "delete it ('gloss-tune dashboard --writable' can), or make the study under another name"
        )
    earlier = _grow(opened.storage, before.study_id, wanted)
    after = earlier.grown(wanted)
    joined = after.candidates[len(earlier.candidates) :]
    newcomers = tuple(candidate.number for candidate in settings[: earlier.top] if candidate in joined)
    now = confirmation_of(opened)
    assert now is not None
    return Confirmation(now, after, len(after.runs_beyond(earlier)), newcomers)


def confirmation_name(name: str) -> str:
    """What the confirmation of a study of this name is called."""
    return name + _SUFFIX


def confirmation_of(opened: OpenStudy) -> OpenStudy | None:
    """The confirmation of a study; None if it has none."""
    found = open_beside(opened, confirmation_name(opened.name))
    if found is None or found.confirms is None or found.confirms["files"] != opened.files:
        return None  # also where the study was deleted and another made under its name
    return found


def ranking(opened: OpenStudy) -> dict[str, Any] | None:
    """The candidates of a study's confirmation by their mean, and in words what that proves.

    Args:
        opened: the study, or its confirmation.

    Returns:
        Plain values, fit for JSON (see :func:`gloss_tune.confirm.ranking.rank`); None without a confirmation.
    """
    child = opened if opened.confirms is not None else confirmation_of(opened)
    if child is None or child.confirms is None:
        return None
    plan = _plan(child)
    now = trial_counts(child)
    runs = [
        Run(
            candidate=trial.user_attrs[CANDIDATE],
            seed=trial.system_attrs[schema.FIXED_PARAMS]["seed"],
            trial=trial.number,
            state=trial.state.name.lower(),
            value=trial.values[0] if trial.state.name == "COMPLETE" else None,
        )
        for trial in child.storage.get_all_trials(child.study_id)
        if CANDIDATE in trial.user_attrs  # all but what other tools may have added
    ]
    return {
        "study": child.confirms["study"],
        "confirmation": child.name,
        "metric": child.spec.metric,
        "direction": child.spec.direction,
        "rehearsal": child.spec.rehearse,
        "state": "running" if now["running"] else "waiting" if now["waiting"] else "finished",
        "trials": now,
        "seeds": list(plan.seeds),
        **rank(plan.candidates, runs),
    }


def confirmed_best(opened: OpenStudy) -> dict[str, Any] | None:
    """The winner of a study's confirmation, once that is finished.

    Returns:
        ``number`` of the winning trial in the study, the ``params`` that it drew, ``n`` seeds, their ``mean`` and
        ``sd``; ``runner_up``, by how much it is behind (``difference``, its 95 % ``interval``), Holm's corrected
        ``p_value`` and ``within_noise``, each None where there is nothing to compare; the ``verdict`` in words; the
        ``candidates``, and whether the study's best trial is among them (``is_current``). None while there is no
        finished confirmation, or if no run of it succeeded.
    """
    ranked = ranking(opened)
    if ranked is None or ranked["state"] != "finished":
        return None
    winner, *others = ranked["candidates"]
    if not winner["n"]:
        return None
    second = others[0] if others else {}
    settings = [candidate["params"] for candidate in ranked["candidates"]]
    return {
        "study": ranked["confirmation"],
        **{key: winner[key] for key in ("number", "params", "n", "mean", "sd")},
        "seeds": ranked["seeds"],
        "runner_up": second.get("number"),
        **{key: second.get(key) for key in ("difference", "interval", "p_value", "within_noise")},
        "verdict": ranked["verdict"],
        "candidates": [candidate["number"] for candidate in ranked["candidates"]],
        "is_current": all(best.params in settings for best in best_settings(opened, 1)),
    }


def _check_confirmable(opened: OpenStudy) -> None:
    if opened.confirms is not None:
        raise InputError(
            f"Study {opened.name!r} is a confirmation itself; name the study that it confirms, "
            f"--study {opened.confirms['study']}"
        )


def _plan(child: OpenStudy) -> Plan:
    assert child.confirms is not None
    return Plan.from_dict(child.confirms["plan"])


def _create(opened: OpenStudy, name: str, plan: Plan) -> bool:
    """Write a confirmation with all its runs, or nothing if the name is taken."""
    runs = plan.runs()
    spec = _child_spec(opened.spec, len(runs))
    attributes = to_attributes(spec, opened.dataset, opened.encoder)
    settled = study_precision(opened)
    if settled is not None:
        attributes[PRECISION] = asdict(settled)
    attributes[CONFIRMS] = {"study": opened.name, "files": opened.files, "plan": plan.to_dict()}
    return create_study(
        opened.storage,
        name,
        attributes,
        spec.trials,
        [_params(*run) for run in runs],
        spec.metric,
        [{CANDIDATE: candidate.number} for candidate, _ in runs],
    )


def _grow(storage: SharedStorage, study_id: int, wanted: Plan) -> Plan:
    """Queue what the confirmation lacks of ``wanted``; returns what it had.

    Processes that do this at once come one after the other, and each finds what those before it have written.
    """
    earlier = wanted

    def planned(stored: Mapping[str, Any], there: int) -> Growth:
        nonlocal earlier
        earlier = Plan.from_dict(stored[CONFIRMS]["plan"])
        plan = earlier.grown(wanted)
        runs = plan.runs_beyond(earlier)
        return Growth(
            {
                CONFIRMS: {**stored[CONFIRMS], "plan": plan.to_dict()},
                SPEC: {**stored[SPEC], "trials": there + len(runs)},
            },
            [_params(*run) for run in runs],
            [{CANDIDATE: candidate.number} for candidate, _ in runs],
        )

    grow(storage, study_id, [SPEC, CONFIRMS], planned)
    return earlier


def _child_spec(spec: StudySpec, trials: int) -> StudySpec:
    """The study's specification, but for what makes its trials a search. Models are not kept: they differ by luck."""
    search = {"sampler": "random", "pruner": "none", "first_trials": (), "keep": 0}
    space = Space.of({**spec.space, "seed": SEED_RANGE})
    return spec.model_copy(
        update={**search, "trials": trials, "space": space, "train": replace(spec.train, seeds=1)}
    )


def _params(candidate: Candidate, seed: int) -> dict[str, Any]:
    return {**candidate.params, "seed": seed}
