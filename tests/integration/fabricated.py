"""A study that has everything a study can have, written at once: what a storage must not lose."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta
from typing import Any

from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.trial import TrialState

from gloss_tune.storage import schema
from gloss_tune.study.study import OpenStudy
from tests.integration.studies import make

_START = datetime(2026, 11, 25, 9, 59, 59, 123457)
_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.WAITING)
ODD = "é\u2028%s :name {} '\"\\ \N{GRINNING FACE}"


def fabricate(url: str, trials: int, name: str = "study", epochs: int = 3) -> OpenStudy:
    """A study whose trials have ended in every way, or wait, with attributes, reports, notes and odd values."""
    opened = make(url, name, trials=trials)
    with opened.storage.transaction() as session:
        found = session.query(schema.Trial.number, schema.Trial.trial_id)
        keys: dict[int, int] = dict(found.filter(schema.Trial.study_id == opened.study_id).all())
        for model, rows in _rows(keys, opened.study_id, epochs).items():
            session.bulk_insert_mappings(model, rows)
        session.bulk_update_mappings(schema.Trial, [_state(number, key) for number, key in keys.items()])
    return opened


def _state(number: int, key: int) -> dict[str, Any]:
    state = _STATES[number % 4]
    begun = None if state is TrialState.WAITING else _START + timedelta(seconds=number)
    return {
        "trial_id": key,
        "state": state,
        "datetime_start": begun,
        "datetime_complete": begun and begun + timedelta(microseconds=7),
    }


def _rows(keys: dict[int, int], study_id: int, epochs: int) -> dict[Any, list[dict[str, Any]]]:
    begun = {number: key for number, key in keys.items() if _STATES[number % 4] is not TrialState.WAITING}
    numbers = {key: number for number, key in begun.items()}
    distribution = distribution_to_json(FloatDistribution(1e-300, 2.0))
    params = [
        {
            "trial_id": key,
            "param_name": name,
            "param_value": 0.1 + number / 3,
            "distribution_json": distribution,
        }
        for number, key in begun.items()
        for name in ("temperature", "mask_ratio", "lpa_iterations", "learning_rate")
    ]
    reports = []
    values = []
    for number, key in begun.items():
        for step in range(1, epochs + 1):
            told = math.nan if number % 50 == 1 else math.inf if number % 50 == 2 else number / 7 + step
            stored, kind = schema.TrialReport.intermediate_value_to_stored_repr(told)
            reports.append(
                {"trial_id": key, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}
            )
        if _STATES[number % 4] is TrialState.COMPLETE:
            told = -math.inf if number % 40 == 20 else 1 / (number + 3)
            stored, kind = schema.TrialValue.value_to_stored_repr(told)
            values.append({"trial_id": key, "objective": 0, "value": stored, "value_type": kind})
    own = {
        "attempts": 2,
        "worker": "w-1",
        "seed": 7,
        "metrics": {"val_macro_f1": 0.1},
        "words": ODD,
        "nothing": None,
    }
    notes = {f"dashboard:{key}:note_ver": 1 for key in list(keys.values())[:3]}
    notes |= {f"dashboard:{key}:note_str:0": f"of {numbers.get(key)}" for key in list(keys.values())[:3]}
    notes |= {
        "dashboard:note_ver": 3,
        "dashboard:note_str:0": "of the study",
        "artifacts:" + "0" * 8: {"a": 1},
    }
    return {
        schema.TrialParam: params,
        schema.TrialReport: reports,
        schema.TrialValue: values,
        schema.TrialUserAttribute: [
            {"trial_id": key, "key": name, "value_json": json.dumps(value)}
            for key in begun.values()
            for name, value in own.items()
        ],
        schema.TrialSystemAttribute: [
            {"trial_id": key, "key": "completed_rung_0", "value_json": json.dumps({"temperature": 0.1})}
            for key in keys.values()
        ],
        schema.TrialHeartbeat: [{"trial_id": key, "heartbeat": _START} for key in begun.values()],
        schema.StudyUserAttribute: [{"study_id": study_id, "key": ODD, "value_json": json.dumps(ODD)}],
        schema.StudySystemAttribute: [
            {"study_id": study_id, "key": name, "value_json": json.dumps(value)}
            for name, value in notes.items()
        ],
    }


def everything(opened: OpenStudy) -> dict[str, Any]:
    """All that Optuna itself reads of a study, with trials by their numbers."""
    storage, study_id = opened.storage, opened.study_id
    trials = storage.get_all_trials(study_id)
    numbers = {str(trial._trial_id): trial.number for trial in trials}

    def named(key: str) -> str:
        parts = key.split(":")
        return (
            f"{parts[0]}:#{numbers[parts[1]]}:{parts[2:]}" if len(parts) > 1 and parts[1] in numbers else key
        )

    return {
        "directions": storage.get_study_directions(study_id),
        "user": storage.get_study_user_attrs(study_id),
        "system": {named(key): value for key, value in storage.get_study_system_attrs(study_id).items()},
        "trials": [
            repr(
                (
                    *(trial.number, trial.state, trial.values, trial.params, trial.distributions),
                    *(
                        trial.datetime_start,
                        trial.datetime_complete,
                        sorted(trial.intermediate_values.items()),
                    ),
                    *(sorted(trial.user_attrs.items(), key=str), sorted(trial.system_attrs.items(), key=str)),
                )
            )
            for trial in trials
        ],
    }
