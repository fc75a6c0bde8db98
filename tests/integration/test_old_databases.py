"""Databases that gloss-tune 0.1.0 made (tests/data) go on working, and plain Optuna opens those made now."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import psycopg
import pytest

from gloss_tune.confirm.export import exported_trial as export
from gloss_tune.report.writing import ReportOptions, write_report
from gloss_tune.signals import StopFlag
from gloss_tune.study.status import status, trials
from gloss_tune.study.study import OpenStudy, open_study
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.worker import work
from tests.integration.studies import make

DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def old_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database as 0.1.0 left it."""
    if request.param == "sqlite":
        shutil.copyfile(DATA / "gloss-tune-0.1.0.sqlite", tmp_path / "study.db")
        return f"sqlite:///{tmp_path / 'study.db'}"
    url: str = request.getfixturevalue("postgres_url")
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute((DATA / "gloss-tune-0.1.0.sql").read_text())
    return url


def run(opened: OpenStudy) -> int:
    return work(opened, WorkerOptions(artifacts=Path(os.devnull)), StopFlag())


def test_it_is_as_it_was_left(old_url: str) -> None:
    opened = open_study(old_url)
    found = status(opened)
    counted = found["trials"]
    assert found["study"] == "old"
    assert (counted["budget"], counted["failed"], counted["running"]) == (16, 1, 1)
    assert counted["complete"] + counted["pruned"] == 10
    assert counted["waiting"] == 4
    assert found["foreign"] == []
    rows = trials(opened)
    assert rows[10]["error"].startswith("NonFiniteLossError")
    assert (rows[11]["state"], rows[11]["worker"]) == ("running", "lost")
    assert (rows[12]["state"], rows[12]["attempts"]) == ("waiting", 1)
    assert rows[12]["params"]


def test_it_is_exported_and_reported(old_url: str, tmp_path: Path) -> None:
    opened = open_study(old_url)
    best = export(opened)["best"]
    complete = [row for row in trials(opened) if row["state"] == "complete"]
    assert best["value"] == max(row["value"] for row in complete)
    written = write_report(opened, ReportOptions(output=tmp_path / "report", artifacts=tmp_path / "none"))
    assert any("NonFiniteLossError" in path.read_text() for path in written if path.suffix == ".md")


@pytest.mark.parametrize("made", ["now", "by 0.1.0"])
def test_the_dashboard_opens_both(storage_url: str, old_url: str, made: str) -> None:
    optuna_dashboard = pytest.importorskip("optuna_dashboard")
    url = old_url
    if made == "now":
        run(make(storage_url, trials=2))
        url = storage_url
    storage = optuna.storages.RDBStorage(url)
    try:
        application = optuna_dashboard.wsgi(storage)
        (first, *_) = ask(application, "/api/studies")["study_summaries"]
        detail = ask(application, f"/api/studies/{first['study_id']}")
        states = Counter(trial["state"] for trial in detail["trials"])
        assert states["Complete"] >= 2
    finally:
        storage.remove_session()
        storage.engine.dispose()


def ask(application: Any, path: str) -> Any:
    """What a WSGI application answers to GET."""
    said: list[str] = []
    environment = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": _Empty(),
    }
    body = b"".join(application(environment, lambda status, headers, exc_info=None: said.append(status)))
    assert said[0].startswith("200"), (said, body)
    return json.loads(body)


class _Empty:
    def read(self, size: int = -1) -> bytes:
        return b""

    def __iter__(self) -> Iterator[bytes]:
        return iter(())
