"""Trials read in bulk, against Optuna's own reading of the same rows."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import pytest
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from gloss_tune.errors import GlossTuneError
from gloss_tune.storage import schema
from gloss_tune.storage import trial_rows as history
from gloss_tune.storage.trial_rows import read_trials
from gloss_tune.storage.trial_states import read_briefly, reported_epochs
from gloss_tune.study import status as reading
from gloss_tune.study.study import OpenStudy
from tests.integration.studies import make

pytestmark = pytest.mark.prepared


@contextmanager
def through_optuna(opened: OpenStudy) -> Iterator[optuna.Study]:
    """The study over a storage of Optuna's own."""
    storage = RDBStorage(opened.storage.url)
    try:
        yield optuna.load_study(study_name=opened.name, storage=storage)
    finally:
        storage.remove_session()
        storage.engine.dispose()


@pytest.fixture
def opened(storage_url: str) -> OpenStudy:
    """A study of all that a trial can be and have, beside another one."""
    make(storage_url, "other", trials=2)
    opened = make(storage_url, trials=4)
    drawn = random.Random(0)
    with through_optuna(opened) as study:
        fill(study, drawn)
    return opened


def fill(study: optuna.Study, drawn: random.Random) -> None:
    for _ in range(3):
        trial = study.ask()
        trial.suggest_float("x", 1e-5, 1, log=True)
        trial.suggest_int("k", 1, 9)
        trial.suggest_categorical("kind", ["a", None, 3])
        for step, value in ((3, math.nan), (1, 0.25), (2, math.inf)):
            trial.report(value, step)
        trial.set_user_attr("metrics", {"val_macro_f1": drawn.random(), "names": ["ä", None]})
        trial.set_user_attr("seconds", 1.5)
    study.tell(1, 0.5)
    study.tell(2, state=TrialState.PRUNED)
    study.enqueue_trial({"x": 0.1})
    study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL, system_attrs={"why": [1]}))
    study.add_trial(optuna.trial.create_trial(value=math.inf))


def of_optuna(opened: OpenStudy) -> list[FrozenTrial]:
    with through_optuna(opened) as study:
        return study.get_trials()


def same(found: list[FrozenTrial], expected: list[FrozenTrial]) -> None:
    for trial in (*found, *expected):  # Optuna leaves the order of these to the database
        trial.user_attrs = dict(sorted(trial.user_attrs.items()))
        trial.intermediate_values = dict(sorted(trial.intermediate_values.items()))
    assert list(map(repr, found)) == list(map(repr, expected)), "as text, in which NaN equals itself"


def test_trials_are_those_that_optuna_reads(opened: OpenStudy) -> None:
    expected = of_optuna(opened)
    assert {trial.state for trial in expected} == set(TrialState)
    with opened.storage.transaction() as session:
        found = read_trials(session, opened.study_id)
        some = read_trials(session, opened.study_id, schema.Trial.state == TrialState.PRUNED)
        without = read_trials(session, opened.study_id, reports=False)
    same(found, expected)
    same(some, [trial for trial in expected if trial.state == TrialState.PRUNED])
    for trial in expected:
        trial.intermediate_values = {}
    same(without, expected)


def test_optunas_cache_reads_through_it(opened: OpenStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_KEYS_A_QUERY", 2)
    study = opened.optuna_study()
    same(study.get_trials(), of_optuna(opened))
    with through_optuna(opened) as other:
        other.tell(0, 0.75)  # behind the cache's back
        other.add_trial(optuna.trial.create_trial(value=0.1))
        complete = other.get_trials(states=[TrialState.COMPLETE])
    same(study.get_trials(), of_optuna(opened))
    same(study.get_trials(states=[TrialState.COMPLETE]), complete)
    with pytest.raises(GlossTuneError, match="deleted"):
        opened.storage._get_trials(999, None, set(), -1)


def test_the_brief_history_counts_ranks_and_times(opened: OpenStudy) -> None:
    with opened.storage.transaction() as session:
        brief = read_briefly(session, opened.study_id)
        epochs = reported_epochs(session, opened.study_id)
    expected = of_optuna(opened)
    assert [(t.trial_id, t.number, t.state) for t in brief] == [
        (t._trial_id, t.number, t.state) for t in expected
    ]
    assert [t.seconds for t in brief] == [t.user_attrs.get("seconds") for t in expected]
    assert next(t.value for t in brief if t.state == TrialState.COMPLETE) == 0.5
    unfinished = [t for t in expected if not t.state.is_finished()]
    assert epochs == {t.number: len(t.intermediate_values) for t in unfinished if t.intermediate_values}
    rows = reading.trials(opened)
    assert [row["epochs"] for row in rows if row["state"] == "running"] == [3]


def test_a_trial_that_ends_meanwhile_is_never_read_as_finished_without_its_value(
    opened: OpenStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna's cache would keep that half of a trial for ever."""
    if opened.storage.engine.dialect.name == "sqlite":
        pytest.skip("a transaction of SQLite sees one moment")
    real = sqlalchemy.engine.Connection.execute
    seen = []

    def execute(
        self: sqlalchemy.engine.Connection, statement: object, *arguments: object, **options: object
    ) -> object:
        result = real(self, statement, *arguments, **options)
        if not seen and "trials" in str(statement) and self.engine is opened.storage.engine:
            seen.append(statement)
            with through_optuna(opened) as other:
                other.tell(0, 0.9)
        return result

    with opened.storage.transaction() as session:
        connection = session.connection()
        monkeypatch.setattr(sqlalchemy.engine.Connection, "execute", execute)
        assert connection is not None
        trial = next(t for t in read_trials(session, opened.study_id) if t.number == 0)
    assert seen
    assert not trial.state.is_finished() or trial.values == [0.9]
