"""What storage/schema.py relies on of Optuna's private side: each name that a release changes fails here by name."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.distributions import FloatDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState

from gloss_tune.storage import schema
from gloss_tune.storage.shared_storage import SharedStorage

COLUMNS = {
    "studies": {"study_id", "study_name"},
    "study_directions": {"study_id", "objective", "direction"},
    "study_user_attributes": {"study_id", "key", "value_json"},
    "study_system_attributes": {"study_id", "key", "value_json"},
    "trials": {"trial_id", "study_id", "number", "state", "datetime_start", "datetime_complete"},
    "trial_params": {"param_id", "trial_id", "param_name", "param_value", "distribution_json"},
    "trial_values": {"trial_id", "objective", "value", "value_type"},
    "trial_intermediate_values": {"trial_id", "step", "intermediate_value", "intermediate_value_type"},
    "trial_user_attributes": {"trial_id", "key", "value_json"},
    "trial_system_attributes": {"trial_id", "key", "value_json"},
    "trial_heartbeats": {"trial_id", "heartbeat"},
    "version_info": {"schema_version", "library_version"},
}
# what ON CONFLICT names
UNIQUE = {
    "study_user_attributes": {"study_id", "key"},
    "study_system_attributes": {"study_id", "key"},
    "trial_params": {"trial_id", "param_name"},
    "trial_values": {"trial_id", "objective"},
    "trial_intermediate_values": {"trial_id", "step"},
    "trial_user_attributes": {"trial_id", "key"},
    "trial_system_attributes": {"trial_id", "key"},
    "trial_heartbeats": {"trial_id"},
}
MODELS = {
    schema.Study: "studies",
    schema.StudyDirection: "study_directions",
    schema.StudyUserAttribute: "study_user_attributes",
    schema.StudySystemAttribute: "study_system_attributes",
    schema.Trial: "trials",
    schema.TrialParam: "trial_params",
    schema.TrialValue: "trial_values",
    schema.TrialReport: "trial_intermediate_values",
    schema.TrialUserAttribute: "trial_user_attributes",
    schema.TrialSystemAttribute: "trial_system_attributes",
    schema.TrialHeartbeat: "trial_heartbeats",
}
HOOKS = {
    "_get_trials": ["study_id", "states", "included_trial_ids", "trial_id_greater_than"],
    "check_trial_is_updatable": ["trial_id", "trial_state"],
    "get_trial": ["trial_id"],
    "set_trial_intermediate_value": ["trial_id", "step", "intermediate_value"],
    "set_trial_system_attr": ["trial_id", "key", "value"],
    "get_study_id_from_name": ["study_name"],
    "get_trial_id_from_study_id_trial_number": ["study_id", "trial_number"],
    "remove_session": [],
}


@pytest.mark.parametrize(
    ("table", "column"), [(t, c) for t, columns in COLUMNS.items() for c in sorted(columns)]
)
def test_a_column_is_there(table: str, column: str) -> None:
    assert column in schema.TABLES[table].columns


@pytest.mark.parametrize(("model", "table"), MODELS.items(), ids=MODELS.values())
def test_a_model_is_of_its_table(model: object, table: str) -> None:
    assert model.__table__ is schema.TABLES[table]  # type: ignore[attr-defined]


@pytest.mark.parametrize("table", UNIQUE)
def test_a_row_is_the_only_one_of_its_keys(table: str) -> None:
    unique = [
        {column.name for column in constraint.columns}
        for constraint in schema.TABLES[table].constraints
        if isinstance(constraint, sqlalchemy.UniqueConstraint)
    ]
    assert UNIQUE[table] in unique


def test_a_waiting_trial_has_no_table_of_its_own() -> None:
    """A table more may hold what a study consists of: copying and deleting one must know it."""
    assert set(schema.TABLES) == set(COLUMNS)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_method_that_we_override_or_call_has_its_parameters(hook: str) -> None:
    assert list(inspect.signature(getattr(RDBStorage, hook)).parameters)[1:] == HOOKS[hook]


def test_optuna_asks_our_overrides(tmp_path: Path) -> None:
    """Its cache reads by ``_get_trials``; each write asks ``check_trial_is_updatable`` in its transaction."""
    asked: list[str] = []

    class Asked(RDBStorage):
        def _get_trials(self, *arguments: Any, **options: Any) -> Any:
            asked.append("_get_trials")
            return super()._get_trials(*arguments, **options)

        def check_trial_is_updatable(self, trial_id: int, trial_state: TrialState) -> None:
            assert self.scoped_session().in_transaction()
            asked.append("check_trial_is_updatable")
            super().check_trial_is_updatable(trial_id, trial_state)

    storage = Asked(f"sqlite:///{tmp_path}/plain.db")
    study = optuna.create_study(storage=storage)
    study.get_trials()
    assert asked == ["_get_trials"]
    number = study.ask()._trial_id
    writes: dict[str, Callable[[], object]] = {
        "parameter": lambda: storage.set_trial_param(number, "x", 0.5, FloatDistribution(0, 1)),
        "user attribute": lambda: storage.set_trial_user_attr(number, "key", 1),
        "system attribute": lambda: storage.set_trial_system_attr(number, "key", 1),
        "report": lambda: storage.set_trial_intermediate_value(number, 1, 0.5),
        "state": lambda: storage.set_trial_state_values(number, TrialState.COMPLETE, [0.5]),
    }
    for name, write in writes.items():
        asked.clear()
        write()
        assert "check_trial_is_updatable" in asked, name
    storage.remove_session()
    storage.engine.dispose()


def test_all_that_optuna_asks_of_a_storage_waits_but_what_must_not_be_repeated() -> None:
    waiting = {
        name
        for name in {*BaseStorage.__abstractmethods__, "get_best_trial"}
        if hasattr(getattr(SharedStorage, name), "__wrapped__")
    }
    assert {*BaseStorage.__abstractmethods__, "get_best_trial"} - waiting == {
        "create_new_study",
        "create_new_trial",
        "delete_study",
        "set_trial_state_values",
    }


@pytest.fixture
def study(tmp_path: Path) -> Iterator[optuna.Study]:
    storage = RDBStorage(f"sqlite:///{tmp_path}/plain.db")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield optuna.create_study(storage=storage)
    storage.remove_session()
    storage.engine.dispose()


def stored(study: optuna.Study, table: str) -> dict[str, object]:
    rows = schema.TABLES[table].c
    storage = study._storage._backend  # type: ignore[attr-defined]
    with storage.engine.connect() as connection:
        return {
            key: json.loads(value)
            for key, value in connection.execute(sqlalchemy.select(rows.key, rows.value_json))
        }


def test_the_key_of_a_queued_trials_parameters(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 0.5})
    assert stored(study, "trial_system_attributes") == {schema.FIXED_PARAMS: {"x": 0.5}}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore::FutureWarning")
def test_the_key_of_a_studys_metric_names(study: optuna.Study) -> None:
    study.set_metric_names(["val_macro_f1"])
    assert stored(study, "study_system_attributes") == {schema.METRIC_NAMES: ["val_macro_f1"]}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore::FutureWarning")
def test_constraints_as_we_write_them_are_read_by_samplers(study: optuna.Study) -> None:
    """Whatever a release writes itself; a violated one keeps a sampler away."""
    trial = study.ask()
    study._storage.set_trial_system_attr(trial._trial_id, schema.CONSTRAINTS, [1.0])
    study.tell(trial, 1.0)
    (frozen,) = study.get_trials()
    if hasattr(frozen, "constraints"):
        assert list(
            frozen.constraints.values() if isinstance(frozen.constraints, dict) else frozen.constraints
        ) == [1.0]
    else:
        from optuna.study._constrained_optimization import _CONSTRAINTS_KEY

        assert schema.CONSTRAINTS == _CONSTRAINTS_KEY


def test_what_is_said_of_a_missing_row(study: optuna.Study) -> None:
    with pytest.raises(KeyError) as missing:
        study._storage._backend.get_trial(12345)  # type: ignore[attr-defined]
    assert missing.value.args == (schema.NOT_FOUND,)


def test_states_are_stored_by_name(study: optuna.Study) -> None:
    study.enqueue_trial({})
    storage = study._storage._backend  # type: ignore[attr-defined]
    with storage.engine.connect() as connection:
        assert (
            connection.execute(sqlalchemy.text("SELECT state FROM trials")).scalar()
            == TrialState.WAITING.name
        )


def test_a_first_start_of_ours_is_optunas_own(study: optuna.Study, tmp_path: Path) -> None:
    """Tables, indexes, version and revision alike; plain Optuna then finds nothing to do."""
    ours = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/ours.db")
    with ours.begin() as connection:
        schema.create_tables(connection)
    with ours.begin() as connection:
        schema.create_tables(connection)  # repeating it changes nothing
    theirs = study._storage._backend.engine  # type: ignore[attr-defined]
    contents = []
    for engine in (ours, theirs):
        with engine.connect() as connection:
            tables = (
                connection.execute(sqlalchemy.text("SELECT sql FROM sqlite_master ORDER BY name"))
                .scalars()
                .all()
            )
            rows = [
                connection.execute(sqlalchemy.text(f"SELECT * FROM {name}")).all()
                for name in ("alembic_version", "version_info")
            ]
            contents.append((tables, rows))
    ours.dispose()
    assert contents[0] == contents[1]
