"""A study's way through its life in sessions that others have set up (tests/hostile.py)."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
import sqlalchemy
from optuna.trial import TrialState

from gloss_tune.errors import StorageError
from gloss_tune.queue.claims import claim
from gloss_tune.queue.clock import database_now
from gloss_tune.queue.heartbeats import WorkerEntry, live_workers, register_worker, send_heartbeat
from gloss_tune.storage.connect import open_storage
from gloss_tune.study.objective import Ending, ask, tell
from gloss_tune.study.status import status, trials
from tests.hostile import SESSIONS
from tests.integration.studies import age, join, make

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(120)]

LEASE = 30.0


@pytest.fixture(params=SESSIONS)
def hostile_url(request: pytest.FixtureRequest, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in SESSIONS[request.param].items():
        monkeypatch.setenv(name, value)
    return postgres_url


def test_a_study_lives_as_in_any_session(hostile_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = make(hostile_url, trials=6, lease=LEASE)
    entry = WorkerEntry("here", "host", 1, "cpu", machine="elsewhere")
    register_worker(opened.storage, opened.study_id, entry)
    claimed = claim(opened.storage, opened.study_id, "here")
    assert claimed is not None
    with opened.storage.transaction() as session:
        session.execute(sqlalchemy.text("SELECT pg_sleep(0.3)"))
        skew = abs(database_now(session) - datetime.now(timezone.utc).replace(tzinfo=None))
        assert skew < timedelta(seconds=60)
    # another worker in an ordinary session sees the first alive, and the other way round
    with monkeypatch.context() as ordinary:
        for name in ("PGTZ", "PGDATESTYLE", "PGOPTIONS"):
            ordinary.delenv(name, raising=False)
        other = join(hostile_url)
        theirs = claim(other.storage, other.study_id, "there")
        assert theirs is not None
        assert [worker.id for worker in live_workers(other.storage, other.study_id, LEASE)] == ["here"]
        assert other.requeue_lost().requeued == []
    assert opened.requeue_lost().requeued == []
    heard = send_heartbeat(opened.storage, opened.study_id, entry, claimed, LEASE)
    assert (heard.holds, heard.others_silent) == (True, False)
    assert abs(heard.silence) < LEASE
    age(opened, theirs.number, LEASE + 5)
    assert opened.requeue_lost().requeued == [theirs.number]
    trial, params = ask(opened, claimed)
    trial.report(0.123456789012345, step=1)
    trial.should_prune()
    tell(opened, trial, claimed, Ending(TrialState.COMPLETE, 0.123456789012345), 1.0, {})
    row = trials(opened)[0]
    assert (row["value"], row["params"]) == (0.123456789012345, params)
    assert status(opened)["best"]["value"] == 0.123456789012345


def test_workers_in_parallel_run_every_trial_once(hostile_url: str) -> None:
    make(hostile_url, trials=12, lease=LEASE)
    start = threading.Barrier(3)

    def run(name: str) -> None:
        opened = join(hostile_url)
        opened.storage.retry_for(60.0, lambda: False, lease=LEASE)
        start.wait()
        while (claimed := claim(opened.storage, opened.study_id, name)) is not None:
            trial, _ = ask(opened, claimed)
            trial.report(0.5, step=1)
            tell(opened, trial, claimed, Ending(TrialState.COMPLETE, 0.5), 1.0, {})
        opened.storage.remove_session()
        opened.storage.engine.dispose()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, "abc"))
    rows = trials(join(hostile_url))
    assert Counter(row["state"] for row in rows) == {"complete": 12}


def test_a_search_path_without_any_schema_is_said(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c search_path=nowhere")
    with pytest.raises(StorageError, match="search_path"):
        open_storage(postgres_url, create=True)


def test_tables_anywhere_on_the_search_path_are_found(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first schema of the path is where tables would be made; they may be in another."""
    make(postgres_url)
    engine = sqlalchemy.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE SCHEMA elsewhere"))
    engine.dispose()
    monkeypatch.setenv("PGOPTIONS", "-c search_path=elsewhere,public")
    assert join(postgres_url).name == "study"
