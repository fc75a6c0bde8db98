"""A study that begins with what another one knows: its specification, its best settings, its history."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from gloss_tune.errors import InputError, StudyMismatchError
from gloss_tune.spec.build import fitted_to, lay_together
from gloss_tune.spec.ranges import PRIOR_KEYS
from gloss_tune.spec.spec import StudySpec
from gloss_tune.study.distributions import distribution_of
from gloss_tune.study.inputs import differences
from gloss_tune.study.study import OpenStudy

_BEST = 5
# what is a study's own, and not of its search
_OWN = ("first_trials", "trials")
#: The user attribute of an imported trial that names where it comes from.
IMPORTED = "imported_from"


def base_layer(source: OpenStudy, layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The specification of a study as the base of another, without what has no effect with its loss and mode.

    A prior goes with its range, encoder and loss: where these are others, it is left out. So are all with
    ``priors = false``.

    Args:
        source: the study that is there.
        layers: what will lie over it.
    """
    if source.confirms is not None:
        raise InputError(
            f"Study {source.name!r} is the confirmation of {source.confirms['study']!r}; begin from that one"
        )
    base = {key: value for key, value in source.spec.to_dict().items() if key not in _OWN}
    said = lay_together(*layers)
    asked = {key: said.get(key, base[key]) for key in ("loss", "mode", "model", "priors", "sampler")}
    same = asked["priors"] and all(asked[key] == base[key] for key in ("loss", "mode", "model"))
    if not same or asked["sampler"] in ("grid", "qmc"):
        base["space"] = _without_priors(base["space"], base["space"])
    elif isinstance(said.get("space"), Mapping):
        base["space"] = _without_priors(base["space"], said["space"])
    return fitted_to(base, str(asked["loss"]), str(asked["mode"]))


def _without_priors(space: Mapping[str, Any], changed: Collection[str]) -> dict[str, Any]:
    return {
        name: {key: value for key, value in table.items() if name not in changed or key not in PRIOR_KEYS}
        for name, table in space.items()
    }


def best_settings(source: OpenStudy, spec: StudySpec) -> list[dict[str, Any]]:
    """Tables for ``first_trials``: the best settings of a study, as far as another one searches them.

    A value outside of its range there is left to be drawn; a setting of which nothing is left is left out.
    """
    found: list[dict[str, Any]] = []
    for trial in _ranked(source):
        known = {**source.spec.train, **trial.params}
        setting = {
            name: known[name]
            for name in spec.space
            if name in known and spec.space[name].contains(known[name])
        }
        if setting and setting not in found:
            found.append(setting)
        if len(found) == min(_BEST, spec.trials):
            break
    return found


def history(
    source: OpenStudy, spec: StudySpec, dataset: Mapping[str, Any], encoder: Mapping[str, Any]
) -> list[FrozenTrial]:
    """The finished trials of a study that another one may count as its own: all within its space.

    Args:
        source: the study that is there.
        spec: of the other one.
        dataset: as the other one remembers its data.
        encoder: likewise.

    Raises:
        StudyMismatchError: results of the two cannot be compared; names each field.
    """
    ours, theirs = _comparable(source.spec, spec), _comparable(spec, source.spec)
    faults = [
        *differences(ours, theirs),
        *differences(dict(source.dataset), dict(dataset), "dataset."),
        *differences(dict(source.encoder), dict(encoder), "encoder."),
    ]
    if faults:
        raise StudyMismatchError(
            source.name,
            faults,
            "Results that do not compare are no history; leave --import out, or change these.",
        )
    found = []
    for trial in source.storage.get_all_trials(source.study_id):
        known = {**source.spec.train, **trial.params}
        inside = all(name in known and spec.space[name].contains(known[name]) for name in spec.space)
        fixed = all(
            name in spec.space or spec.train.get(name) == value for name, value in trial.params.items()
        )
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and inside and fixed:
            found.append(_as_own(trial, known, source, spec))
    return found


def _as_own(trial: FrozenTrial, known: Mapping[str, Any], source: OpenStudy, spec: StudySpec) -> FrozenTrial:
    own = copy.copy(trial)
    own.distributions = {searched.name: distribution_of(searched) for searched in spec.ranges}
    own.params = {name: known[name] for name in own.distributions}
    own.user_attrs = {**trial.user_attrs, IMPORTED: {"study": source.name, "number": trial.number}}
    return own


def _ranked(source: OpenStudy) -> list[FrozenTrial]:
    trials = source.storage.get_all_trials(source.study_id, deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(
        (trial for trial in trials if trial.value is not None),
        key=lambda trial: trial.value or 0.0,
        reverse=True,
    )


def _comparable(spec: StudySpec, other: StudySpec) -> dict[str, Any]:
    """What results depend on, less what either study searches."""
    whole = spec.to_dict()
    names = ("loss", "mode", "metric", "seed", "rehearse", "model", "prompt")
    top: dict[str, Any] = {name: whole[name] for name in names if name in whole}
    fixed = {
        name: value
        for name, value in whole["train"].items()
        if name not in spec.space and name not in other.space
    }
    return {**top, "train": fixed}
