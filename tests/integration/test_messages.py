"""What a worker's steps cost in messages to a Postgres server, and that statements which wait are none the worse."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
import sqlalchemy
from optuna.trial import TrialState
from psycopg.pq import TransactionStatus
from sqlalchemy.exc import IntegrityError

from gloss_tune.queue.claims import claim, finish, release
from gloss_tune.queue.heartbeats import WorkerEntry, live_workers, register_worker, send_heartbeat
from gloss_tune.storage import schema
from gloss_tune.storage.attributes import set_attributes, text_attribute
from gloss_tune.study.study import OpenStudy
from tests.integration.studies import make, trial_of

pytestmark = [pytest.mark.postgres, pytest.mark.prepared]

ENTRY = WorkerEntry('w "quoted\\" %s 100%', "host", 1, "cpu")


@pytest.fixture
def opened(postgres_url: str) -> OpenStudy:
    return make(postgres_url, trials=3)


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything that is sent."""
    sent: list[str] = []
    execute, commit = psycopg.ClientCursor.execute, psycopg.Connection.commit

    def record(cursor: psycopg.ClientCursor, query: str, *args: object, **kwargs: object) -> object:
        sent.append(str(query))
        return execute(cursor, query, *args, **kwargs)  # type: ignore[arg-type]

    def record_commit(connection: psycopg.Connection) -> None:
        if connection.pgconn.transaction_status != TransactionStatus.IDLE:
            sent.append("COMMIT")
        commit(connection)

    monkeypatch.setattr(psycopg.ClientCursor, "execute", record)
    monkeypatch.setattr(psycopg.Connection, "commit", record_commit)
    return sent


def count(sent: list[str], step: Callable[[], object]) -> int:
    sent.clear()
    step()
    return len(sent)


def test_a_step_takes_few_messages(opened: OpenStudy, messages: list[str]) -> None:
    storage, study = opened.storage, opened.study_id
    register_worker(storage, study, ENTRY)  # a connection is looked at once
    assert count(messages, lambda: register_worker(storage, study, ENTRY)) == 1
    assert count(messages, lambda: claim(storage, study, ENTRY.id)) == 3
    claimed = claim(storage, study, ENTRY.id)
    assert claimed is not None
    assert count(messages, lambda: send_heartbeat(storage, study, ENTRY, claimed, 30)) <= 7
    assert count(messages, lambda: storage.set_trial_intermediate_value(claimed.trial_id, 1, 0.5)) == 1
    ended = {"epochs": 1, "note": "100% of 'it'; -- :x %(y)s \\ \"z\""}
    assert count(messages, lambda: finish(storage, claimed, TrialState.COMPLETE, 0.5, ended)) == 2
    assert trial_of(opened, claimed.number).user_attrs.items() >= ended.items()
    assert trial_of(opened, claimed.number).value == 0.5


def test_what_waits_is_seen_by_the_next_read(opened: OpenStudy) -> None:
    trial = trial_of(opened, 0)._trial_id
    with opened.storage.transaction() as session:
        set_attributes(session, trial, {"worker": "100%s"})
        assert text_attribute(session, trial, "worker") == "100%s"
        set_attributes(session, trial, {"worker": "last"})
    assert trial_of(opened, 0).user_attrs["worker"] == "last"


def test_what_waits_goes_with_the_transaction(opened: OpenStudy) -> None:
    trial = trial_of(opened, 0)._trial_id

    def break_off() -> None:
        with opened.storage.transaction() as session:
            set_attributes(session, trial, {"worker": "w"})
            raise ValueError("broken off")

    with pytest.raises(ValueError, match="broken off"):
        break_off()
    assert trial_of(opened, 0).user_attrs == {}
    with opened.storage.transaction():
        pass  # nothing is left for the next one


def test_what_waits_fails_as_any_statement(opened: OpenStudy) -> None:
    """At the commit, and as SQLAlchemy's error."""
    with pytest.raises(IntegrityError), opened.storage.transaction() as session:
        set_attributes(session, 10**6, {"worker": "nobody's trial"})
    assert claim(opened.storage, opened.study_id, "w") is not None


def test_many_rows_at_once_come_after_what_waits(opened: OpenStudy) -> None:
    trial = trial_of(opened, 0)._trial_id
    attribute = schema.TrialUserAttribute.__table__
    with opened.storage.transaction() as session:
        set_attributes(session, trial, {"first": 1})
        rows = [{"trial_id": trial, "key": f"k{n}", "value_json": "1"} for n in range(3)]
        session.connection().execute(sqlalchemy.insert(attribute).inline(), rows)
    assert trial_of(opened, 0).user_attrs.keys() == {"first", "k0", "k1", "k2"}


def test_entries_say_what_workers_said(opened: OpenStudy) -> None:
    register_worker(opened.storage, opened.study_id, ENTRY)
    assert live_workers(opened.storage, opened.study_id, 30) == [ENTRY]


def test_a_claim_that_was_given_back_starts_with_a_heartbeat_of_now(opened: OpenStudy) -> None:
    claimed = claim(opened.storage, opened.study_id, "w")
    assert claimed is not None
    assert release(opened.storage, claimed)
    again = claim(opened.storage, opened.study_id, "w")
    assert again is not None
    assert (again.number, again.attempt) == (0, 2)
    with opened.storage.reading() as session:
        life = schema.TrialHeartbeat
        assert session.scalar(sqlalchemy.select(sqlalchemy.func.count()).select_from(life)) == 1
