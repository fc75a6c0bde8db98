"""``gloss-tune doctor`` as a process: what it prints, its exit code, and that it needs no torch for a rehearsal."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import sqlalchemy

from tests.acceptance.conftest import Commands, until
from tests.integration.studies import contents

pytestmark = pytest.mark.timeout(90)


def test_a_healthy_rehearsal_and_a_worker_that_is_killed(on_storage: Commands) -> None:
    assert on_storage.storage is not None
    on_storage(
        "create", "--dataset", "mr", "--rehearse", "--rehearse-seconds", 30, "--trials", 3, "--lease", 2
    )
    before = contents(on_storage.storage)
    healthy = on_storage("doctor")
    assert "FAILED" not in healthy.stdout
    assert "Nothing failed" in healthy.stdout
    assert healthy.stderr == ""
    assert contents(on_storage.storage) == before
    assert on_storage.json("doctor")["estimate"] == {
        "seconds_per_trial": 30.0, "seconds_to_go": 90.0, "workers": 1,
    }  # fmt: skip

    worker = on_storage.start("worker")
    until(lambda: on_storage.json("status")["trials"]["running"])
    on_storage("doctor")
    worker.send(signal.SIGKILL)
    worker.wait()
    until(lambda: on_storage.start("doctor").wait() == 1)
    told = on_storage("doctor", exit_code=1).stdout
    assert [line.split()[:2] for line in told.splitlines() if "FAILED" in line] == [["workers", "FAILED"]]
    assert "→ 'gloss-tune reap'" in told
    assert "1 failed" in told


def test_without_a_study_and_with_a_storage_that_is_gone(commands: Commands, tmp_path: Path) -> None:
    found = commands.json("doctor", "--storage", f"sqlite:///{tmp_path}/gone/x.db", exit_code=1)
    assert found["ok"] is False
    assert found["checks"][0]["name"] == "storage"
    assert found["checks"][0]["state"] == "failed"
    assert found["checks"][0]["advice"]
    assert found["estimate"] is None
    assert list(commands.folder.iterdir()) == []


def test_a_malformed_url_is_the_users_mistake(commands: Commands) -> None:
    told = commands("doctor", "--storage", "mysql://user:geheim@host/db", exit_code=2)
    assert told.stdout == ""
    assert "SQLite or Postgres" in told.stderr
    assert "geheim" not in told.stderr


@pytest.mark.postgres
def test_no_password_is_told(commands: Commands, postgres_url: str) -> None:
    password = sqlalchemy.make_url(postgres_url).password
    wrong = sqlalchemy.make_url(postgres_url).set(database="no_such_database")
    for url in (postgres_url, wrong.render_as_string(hide_password=False)):
        process = commands.start("doctor", env={"GLOSS_TUNE_STORAGE": url})
        process.wait()
        assert "storage" in process.stdout
        assert password
        assert password not in process.stdout + process.stderr
