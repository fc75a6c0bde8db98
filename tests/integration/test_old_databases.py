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

from gloss_tune.confirm.confirmation import confirm, confirmed_best, ranking
from gloss_tune.confirm.export import exported_trial as export
from gloss_tune.finetune.rehearsal import Rehearsal
from gloss_tune.report.writing import ReportOptions, write_report
from gloss_tune.signals import StopFlag
from gloss_tune.storage.trial_rows import read_trials
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
    return work(opened, WorkerOptions(artifacts=Path(os.devnull)), StopFlag()).trials


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


def test_it_is_resumed_under_the_same_numbers_and_parameters(old_url: str) -> None:
    opened = open_study(old_url)
    before = trials(opened)
    assert opened.requeue_lost().requeued == [11]
    assert run(opened) == 5
    after = trials(opened)
    assert Counter(row["state"] for row in after)["fail"] == 1
    assert status(opened)["state"] == "finished"
    assert len({json.dumps(row["params"]) for row in after}) == 16
    for old, new in zip(before, after, strict=True):
        if old["state"] in ("complete", "pruned", "fail"):
            assert new == old
        elif old["params"]:
            assert (new["params"], new["attempts"]) == (old["params"], 2)
    for row in after:
        if row["state"] == "complete":
            finished = Rehearsal(opened.spec.config(row["params"]))
            list(finished.epochs())
            assert finished.best is not None
            assert row["value"] == pytest.approx(finished.best.metrics["val_macro_f1"])


def test_it_is_exported_and_reported(old_url: str, tmp_path: Path) -> None:
    opened = open_study(old_url)
    best = export(opened)["best"]
    complete = [row for row in trials(opened) if row["state"] == "complete"]
    assert best["value"] == max(row["value"] for row in complete)
    written = write_report(opened, ReportOptions(output=tmp_path / "report", artifacts=tmp_path / "none"))
    assert any("NonFiniteLossError" in path.read_text() for path in written if path.suffix == ".md")


def test_its_confirmation_goes_on(old_url: str) -> None:
    opened = open_study(old_url, "old")
    half = ranking(opened)
    assert half is not None
    assert half["trials"]["complete"] == 3
    again = confirm(opened)
    assert (again.added, again.newcomers) == (0, ())
    assert run(again.study) == 3
    confirmed = confirmed_best(opened)
    assert confirmed is not None
    assert confirmed["n"] == 3


def test_plain_optuna_opens_what_we_make(storage_url: str) -> None:
    opened = make(storage_url, trials=3)
    assert run(opened) == 3
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(storage_url)
    try:
        study = optuna.load_study(study_name="study", storage=storage)
        with opened.storage.transaction() as session:
            ours = read_trials(session, opened.study_id)
        assert study.trials == ours
        assert study.best_value == export(opened)["best"]["value"]
        assert study.metric_names == ["val_macro_f1"]
        study.optimize(lambda trial: trial.suggest_float("mask_ratio", 0.1, 0.9), n_trials=1)
        assert len(study.trials) == 4
    finally:
        storage.remove_session()
        storage.engine.dispose()
    assert status(opened)["trials"]["budget"] == 3


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
