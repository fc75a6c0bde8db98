"""A storage that answers and refuses: every command says so once, with the next step, and no trial pays for it."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import optuna
import psycopg
import pytest
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from gloss_tune.study.status import status as read_status
from gloss_tune.study.status import trials as read_trials
from gloss_tune.study.study import OpenStudy, open_study
from tests.acceptance.conftest import Commands, until
from tests.acceptance.failing import FailingDatabase, execute
from tests.acceptance.test_signals import create, epochs_reported

pytestmark = pytest.mark.timeout(120)

WORKING = pytest.mark.parametrize(
    "command", [("launch", "--workers", 2), ("worker",)], ids=["launch", "worker"]
)
READING = ("status", "trials", "export", "compare", "report --no-publish --output report", "studies")
WRITING = ("reap", "extend --trials 1", "pause", "resume", "stop", 'enqueue {"temperature":0.5}', "confirm")
WORKERS = ("worker", "launch --workers 2")
# that every command is tried with; 23514 is not among them: Optuna takes any refused row of a new study for its name's
OFTEN = ("28P01", "42P01", "XX001", "25006", "57P01")
REFUSED = ("22P02", "28P01", "42501", "42703", "42P01", "23514", "XX001", "99999")
WAITED = ("08006", "25006", "40001", "40P01", "53100", "53300", "55P03", "57014", "57P01", "57P03", "58030")


@pytest.fixture
def on_postgres(commands: Commands, postgres_url: str) -> Commands:
    commands.storage = postgres_url
    return commands


def run_sql(url: str, statement: str) -> None:
    """One statement on either kind of storage, as its administrator."""
    if not url.startswith("sqlite"):
        execute(url, statement)
        return
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30, isolation_level=None)
    with contextlib.closing(connection):
        connection.execute(statement)


@pytest.mark.prepared
@WORKING
def test_an_error_of_the_storage_in_a_report_is_not_the_trials(
    on_storage: Commands, command: tuple[object, ...]
) -> None:
    """What a report meets is booked to the storage: the worker leaves, the trial waits for one that can report."""
    assert on_storage.storage is not None
    opened = create(on_storage, trials=2, seconds=1.5)
    process = on_storage.start(*command)
    until(lambda: epochs_reported(opened) >= 1)
    opened.storage.remove_session()
    run_sql(on_storage.storage, "ALTER TABLE trial_intermediate_values RENAME COLUMN step TO stop")
    process.ended(2, timeout=60)
    run_sql(on_storage.storage, "ALTER TABLE trial_intermediate_values RENAME COLUMN stop TO step")
    assert "Next: " in process.stderr
    again = open_study(on_storage.storage, read_only=True)
    now = read_status(again)["trials"]
    assert (now["failed"], now["running"], now["waiting"]) == (0, 0, 2)
    assert all(row["error"] is None for row in read_trials(again))
    on_storage("worker")
    assert [row["state"] for row in read_trials(again)] == ["complete"] * 2


@pytest.mark.prepared
@pytest.mark.parametrize("lasts", [1.0], ids=str)
def test_an_outage_in_a_report_is_waited_for(on_storage: Commands, lasts: float) -> None:
    """Nor is an outage the trial's: it goes on where it was."""
    assert on_storage.storage is not None
    opened = create(on_storage, trials=1, seconds=2)
    worker = on_storage.start("worker")
    until(lambda: epochs_reported(opened) >= 1)
    opened.storage.remove_session()
    with _locked(on_storage.storage, "trial_intermediate_values"):
        time.sleep(lasts)
    worker.ended(0)
    (row,) = read_trials(open_study(on_storage.storage, read_only=True))
    assert (row["state"], row["attempts"], row["epochs"]) == ("complete", 1, 10)


@contextlib.contextmanager
def _locked(url: str, table: str) -> Iterator[None]:
    """Nobody else may write to the table meanwhile, nor, on SQLite, to any."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
        connection.close()
        return
    with psycopg.connect(url.replace("+psycopg", "")) as other:
        other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield


def delete_by_plain_optuna(url: str, name: str) -> None:
    """As Optuna's command line does it. It gives up without a word where a worker has just written; then once more."""
    storage = RDBStorage(url, skip_table_creation=True, skip_compatibility_check=True)

    def deleted() -> bool:
        if name not in optuna.get_all_study_names(storage):
            return True
        with contextlib.suppress(SQLAlchemyError, optuna.exceptions.StorageInternalError):
            optuna.delete_study(study_name=name, storage=storage)
        return False

    try:
        until(deleted, timeout=60, pause=0.0)
    finally:
        storage.remove_session()
        storage.engine.dispose()


@pytest.mark.prepared
@WORKING
def test_a_study_that_is_deleted_meanwhile_is_no_success(
    on_storage: Commands, command: tuple[object, ...]
) -> None:
    assert on_storage.storage is not None
    opened = create(on_storage, trials=4, seconds=4)
    process = on_storage.start(*command)
    until(lambda: epochs_reported(opened) >= 1)
    opened.storage.remove_session()
    delete_by_plain_optuna(on_storage.storage, opened.name)
    process.ended(1, timeout=60)
    assert process.stderr.count("Error: ") == 1
    last = process.stderr.splitlines()[-1]
    assert last.startswith("Error: Stud") or last.startswith("Error: Storage")
    assert "deleted" in last
    assert "0 of 0" not in process.stderr


@pytest.mark.postgres
@pytest.mark.prepared
@WORKING
def test_a_password_that_is_changed_ends_the_workers(
    on_postgres: Commands, postgres_url: str, command: tuple[object, ...]
) -> None:
    """Connections that are open stay so; the next one is refused."""
    opened = create(on_postgres, trials=3, seconds=2)
    role = f"role_{uuid.uuid4().hex[:8]}"
    rights = "ALL ON ALL {} IN SCHEMA public"
    execute(
        postgres_url,
        f"CREATE ROLE {role} LOGIN PASSWORD 'old'",
        *(f"GRANT {rights.format(kind)} TO {role}" for kind in ("TABLES", "SEQUENCES")),
    )
    parts = urlsplit(postgres_url)
    owner, on_postgres.storage = (
        on_postgres.storage,
        f"{parts.scheme}://{role}:old@{parts.hostname}:{parts.port}{parts.path}",
    )
    try:
        process = on_postgres.start(*command)
        until(lambda: epochs_reported(opened) >= 1)
        execute(
            postgres_url,
            f"ALTER ROLE {role} PASSWORD 'new'",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'",
        )
        process.ended(2, timeout=60)
        assert "password authentication failed" in process.stderr
        assert "give a user and password that the server accepts" in process.stderr
        assert "Error: " in process.stderr.splitlines()[-1]
        assert "Starting it again" not in process.stderr
    finally:
        execute(postgres_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
    on_postgres.storage = owner
    on_postgres("worker", timeout=90)
    assert [row["state"] for row in read_trials(opened)] == ["complete"] * 3


@pytest.fixture
def failing(on_postgres: Commands, postgres_url: str) -> FailingDatabase:
    """The storage of a study with a finished trial and some that wait."""
    on_postgres(
        "create", "--dataset", "mr", "--rehearse", "--rehearse-seconds", 0.01, "--trials", 3, "--lease", 2,
    )  # fmt: skip
    on_postgres("worker", "--max-trials", 1)
    return FailingDatabase(postgres_url)


def said_once(commands: Commands, line: str, code: int, advice: str) -> None:
    ended = commands(*line.split(), exit_code=code)
    (error,) = (text for text in ended.stderr.splitlines() if text.startswith("Error: "))
    assert "as told" in error
    assert advice in error


@pytest.mark.postgres
@pytest.mark.prepared
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "code", ["42501", "53300", *(pytest.param(code, marks=pytest.mark.slow) for code in OFTEN)]
)
def test_every_command_says_once_what_the_storage_says(
    on_postgres: Commands, failing: FailingDatabase, code: str
) -> None:
    ends_with, advice = (69, "again") if code in WAITED else (2, "Next: ")
    with failing.answers_with(code):
        # workers wait from their start on for what passes
        at_work = WORKERS if code in REFUSED else ()
        for line in (*READING, *WRITING, *at_work, "create --dataset mr --rehearse"):
            said_once(on_postgres, line, ends_with, advice)
        assert "as told" in on_postgres("doctor", exit_code=1).stdout
    with failing.answers_with(code, reads=False):
        for line in (*WRITING, "create --study other --dataset mr --rehearse"):
            said_once(on_postgres, line, ends_with, advice)
    on_postgres("worker")


@pytest.mark.postgres
@pytest.mark.prepared
@pytest.mark.parametrize(
    "code", ["25006", *(pytest.param(code, marks=pytest.mark.slow) for code in WAITED[::3])]
)
@WORKING
def test_workers_wait_for_what_passes(
    on_postgres: Commands, failing: FailingDatabase, code: str, command: tuple[object, ...]
) -> None:
    assert on_postgres.storage is not None
    opened = create_slow(on_postgres)
    process = on_postgres.start(*command, "--study", opened.name)
    until(lambda: epochs_reported(opened) >= 1)
    with failing.answers_with(code):
        time.sleep(1.5)
    process.ended(0)
    rows = read_trials(opened)
    assert [row["state"] for row in rows] == ["complete"] * 4
    assert [row["attempts"] for row in rows] == [1] * 4


@pytest.mark.postgres
@pytest.mark.prepared
@pytest.mark.parametrize(
    "code",
    ["42501", *(pytest.param(code, marks=pytest.mark.slow) for code in ("28P01", "42P01", "23514", "99999"))],
)
@WORKING
def test_workers_end_at_what_does_not_pass(
    on_postgres: Commands, failing: FailingDatabase, code: str, command: tuple[object, ...]
) -> None:
    opened = create_slow(on_postgres)
    process = on_postgres.start(*command, "--study", opened.name)
    until(lambda: epochs_reported(opened) >= 1)
    with failing.answers_with(code):
        process.ended(2, timeout=30)
    assert "as told" in process.stderr.splitlines()[-1]
    assert "Starting it again" not in process.stderr
    assert read_status(opened)["trials"]["failed"] == 0
    on_postgres("worker", "--study", opened.name)
    assert [row["state"] for row in read_trials(opened)] == ["complete"] * 4


def create_slow(commands: Commands) -> OpenStudy:
    commands(
        "create", "--study", "slow", "--dataset", "mr", "--rehearse", "--rehearse-seconds", 1.0, "--trials", 4,
        "--lease", 2, "--pruner", "none", "--sampler", "random", "--set", "train.patience=10",
    )  # fmt: skip
    assert commands.storage is not None
    return open_study(commands.storage, "slow", read_only=True)
