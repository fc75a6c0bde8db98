"""A database that goes away and comes back, with real processes and a real server."""

from __future__ import annotations

import signal
import sqlite3
import time
import uuid
from urllib.parse import urlsplit

import psycopg
import pytest

from gloss_tune.study.status import status as read_status
from gloss_tune.study.status import trials as read_trials
from tests.acceptance.conftest import Commands, until
from tests.acceptance.test_signals import create, epochs_reported, expected_value
from tests.servers import PostgresServer

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def on_postgres(commands: Commands, postgres_url: str) -> Commands:
    commands.storage = postgres_url
    return commands


@pytest.mark.postgres
def test_workers_wait_for_a_restarted_server_and_no_trial_is_lost(
    on_postgres: Commands, postgres_server: PostgresServer
) -> None:
    """The server is away for longer than a lease: that time counts against nobody."""
    opened = create(on_postgres, trials=6, seconds=1.5)
    workers = [on_postgres.start("worker") for _ in range(3)]
    until(lambda: epochs_reported(opened, 2) >= 2)
    with postgres_server.outage(crash=True):
        time.sleep(3.0)
    for worker in workers:
        worker.ended(0, timeout=60)
        assert worker.stderr.count("does not answer") == 1
        assert worker.stderr.count("answers again") == 1
        assert "lease was lost" not in worker.stderr
    rows = read_trials(opened)
    assert [row["state"] for row in rows] == ["complete"] * 6
    assert [row["attempts"] for row in rows] == [1] * 6
    for row in rows:
        assert row["value"] == expected_value(opened, row)


@pytest.mark.postgres
def test_a_worker_told_to_stop_without_a_storage_leaves_in_time(
    on_postgres: Commands, postgres_server: PostgresServer
) -> None:
    opened = create(on_postgres, trials=1, seconds=1.5)
    worker = on_postgres.start("worker", "--grace", 2)
    until(lambda: epochs_reported(opened) >= 2)
    with postgres_server.outage():
        time.sleep(0.5)
        worker.send(signal.SIGTERM)
        worker.ended(143, timeout=10)
    assert read_status(opened)["trials"]["running"] == 1, "nobody could requeue it"
    on_postgres.start("worker").ended(0, timeout=40)  # its lease ends, and another worker takes it
    (row,) = read_trials(opened)
    assert row["state"] == "complete"
    assert row["value"] == expected_value(opened, row)


@pytest.mark.postgres
def test_readers_do_not_wait(on_postgres: Commands, postgres_server: PostgresServer) -> None:
    create(on_postgres)
    with postgres_server.outage():
        for command in ("status", "trials", "export", "launch", "reap"):
            ended = on_postgres(command, exit_code=69, timeout=40)
            assert ended.stderr.count("\n") <= 2
            assert "cannot be opened" in ended.stderr


def test_a_locked_sqlite_file_is_waited_for(commands: Commands) -> None:
    commands.storage = f"sqlite:///{commands.folder}/study.db"
    opened = create(commands, trials=2, seconds=0.5)
    holder = sqlite3.connect(commands.folder / "study.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    worker = commands.start("worker")
    time.sleep(2.5)
    assert worker.poll() is None
    holder.execute("ROLLBACK")
    holder.close()
    worker.ended(0, timeout=40)
    assert [row["state"] for row in read_trials(opened)] == ["complete"] * 2


@pytest.mark.postgres
def test_a_server_that_takes_no_writes_for_a_while_is_waited_for(
    on_postgres: Commands, postgres_server: PostgresServer
) -> None:
    opened = create(on_postgres, trials=6, seconds=0.5)
    workers = [on_postgres.start("worker") for _ in range(2)]
    until(lambda: epochs_reported(opened, 1) >= 1)
    postgres_server.set_read_only(True)
    try:
        time.sleep(1.0)
    finally:
        postgres_server.set_read_only(False)
    for worker in workers:
        worker.ended(0, timeout=60)
    rows = read_trials(opened)
    assert [row["state"] for row in rows] == ["complete"] * 6
    assert [row["attempts"] for row in rows] == [1] * 6


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@pytest.mark.postgres
@pytest.mark.parametrize("command", [("launch", "--workers", 2), ("worker",)], ids=["launch", "worker"])
def test_a_role_that_may_only_read_ends_the_workers_at_once(
    on_postgres: Commands, postgres_url: str, command: tuple[object, ...]
) -> None:
    create(on_postgres, trials=2)
    role = f"reader_{uuid.uuid4().hex[:8]}"
    execute(
        postgres_url,
        f"CREATE ROLE {role} LOGIN PASSWORD 'reads'",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
    )
    parts = urlsplit(postgres_url)
    on_postgres.storage = f"{parts.scheme}://{role}:reads@{parts.hostname}:{parts.port}{parts.path}"
    try:
        ended = on_postgres(*command, exit_code=2, timeout=40)
        assert "permission denied for table" in ended.stderr
        assert "grant the user all rights" in ended.stderr
        assert "asking again" not in ended.stderr
    finally:
        execute(postgres_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.postgres
@pytest.mark.parametrize("command", [("launch", "--workers", 2), ("worker",)], ids=["launch", "worker"])
def test_tables_that_are_dropped_end_the_workers(
    on_postgres: Commands, postgres_url: str, command: tuple[object, ...]
) -> None:
    opened = create(on_postgres, trials=4, seconds=1.5)
    process = on_postgres.start(*command)
    until(lambda: epochs_reported(opened, 1) >= 1)
    opened.storage.remove_session()
    opened.storage.engine.dispose()
    execute(
        postgres_url, "DROP TABLE trial_heartbeats, trial_intermediate_values, trial_user_attributes CASCADE"
    )
    process.ended(2, timeout=60)
    assert "does not exist" in process.stderr
