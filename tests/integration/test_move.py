"""Studies moved between storages: everything arrives, and whatever goes wrong, one whole study is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import sqlalchemy

import gloss_tune
from gloss_tune.catalog.changes import delete_study, plan_deletion
from gloss_tune.catalog.listing import list_studies
from gloss_tune.catalog.move import move_studies
from gloss_tune.confirm.confirmation import confirm, confirmation_of
from gloss_tune.errors import GlossTuneError, InputError
from gloss_tune.queue.claims import claim
from gloss_tune.queue.heartbeats import WorkerEntry, register_worker
from gloss_tune.queue.steering import Steering, read_steering, steer
from gloss_tune.signals import StopFlag
from gloss_tune.storage.connect import open_storage
from gloss_tune.study.study import OpenStudy, open_study
from gloss_tune.workers.worker import WorkerOptions, work
from tests.integration.fabricated import everything, fabricate
from tests.integration.studies import contents, join, make

pytestmark = [pytest.mark.timeout(60), pytest.mark.prepared]


@pytest.fixture
def target_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'target.db'}"


def names(url: str) -> set[str]:
    return {study.study_name for study in open_storage(url, read_only=True).get_all_studies()}


def test_everything_arrives_and_comes_back(storage_url: str, target_url: str) -> None:
    before = everything(fabricate(storage_url, 60))
    make(target_url, "other", trials=3)
    moved = move_studies(storage_url, target_url, "study")
    assert (moved.studies, moved.trials, moved.requeued, moved.steered) == (("study",), 60, 0, ())
    assert everything(join(target_url, "study")) == before
    move_studies(target_url, storage_url, "study")
    assert everything(join(storage_url, "study")) == before
    assert names(target_url) == {"study", "other"}  # marked, until somebody deletes it


@pytest.mark.postgres
def test_between_servers_and_out_of_a_fresh_file(storage_url: str, postgres_url: str) -> None:
    if storage_url == postgres_url:
        pytest.skip("the same database")
    before = everything(fabricate(storage_url, 60))
    move_studies(storage_url, postgres_url)
    assert everything(join(postgres_url, "study")) == before
    finish(join(postgres_url, "study"))  # keys of new rows are free


@pytest.mark.slow
@pytest.mark.postgres
def test_a_thousand_trials_both_ways(tmp_path: Path, postgres_url: str) -> None:
    url = f"sqlite:///{tmp_path / 'thousand.db'}"
    before = everything(fabricate(url, 1000, epochs=10))
    seconds = []
    for here, there in ((url, postgres_url), (postgres_url, url)):
        start = time.perf_counter()
        move_studies(here, there)
        seconds.append(time.perf_counter() - start)
        assert everything(join(there, "study")) == before
    print(f"1,000 trials: SQLite to Postgres {seconds[0]:.2f} s, back {seconds[1]:.2f} s")


def finish(opened: OpenStudy) -> None:
    work(opened, WorkerOptions(artifacts=Path("gloss-tune-artifacts")), StopFlag())


def test_a_moved_study_goes_on_with_its_confirmation(
    storage_url: str, target_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    opened = make(storage_url, "first", trials=3, pruner="none", train={"epochs": 2})
    finish(opened)
    confirm(opened, 2, 2)
    moved = move_studies(storage_url, target_url, "first")
    assert moved.studies == ("first", "first.confirm")
    there = join(target_url, "first")
    confirmation = confirmation_of(there)
    assert confirmation is not None
    finish(confirmation)
    assert there.files == opened.files
    with pytest.raises(InputError, match=r"is the confirmation of 'first'"):
        move_studies(target_url, storage_url, "first.confirm")


def test_what_is_left_is_looked_at_and_refused_to_workers(
    storage_url: str, target_url: str, tmp_path: Path
) -> None:
    fabricate(storage_url, 8)
    move_studies(storage_url, target_url)
    with pytest.raises(InputError, match=r"was moved from storage .* to sqlite:///.*target.db"):
        open_study(storage_url, "study")
    with pytest.raises(InputError, match="was moved"):
        gloss_tune.open_study(storage=storage_url)
    assert open_study(storage_url, "study", read_only=True).moved
    assert [row["moved"] is not None for row in list_studies(storage_url)] == [True]
    assert [row["moved"] for row in list_studies(target_url)] == [None]
    with pytest.raises(InputError, match="holds no study of gloss-tune that could move"):
        move_studies(storage_url, f"sqlite:///{tmp_path / 'third.db'}")
    assert not (tmp_path / "third.db").exists()


def test_deleting_what_is_left_keeps_the_files(storage_url: str, target_url: str, tmp_path: Path) -> None:
    opened = fabricate(storage_url, 4)
    weights = tmp_path / "models" / opened.files / "trial-0" / "weights"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"x")
    move_studies(storage_url, target_url)
    assert plan_deletion(storage_url, "study", tmp_path).files == ()
    delete_study(storage_url, "study", tmp_path)
    assert weights.exists()
    assert names(storage_url) == set()
    assert plan_deletion(target_url, "study", tmp_path).files


def test_nothing_is_left_if_asked_for(storage_url: str, target_url: str) -> None:
    fabricate(storage_url, 4)
    make(storage_url, "other")
    assert move_studies(storage_url, target_url, "study", delete_source=True).deleted
    assert names(storage_url) == {"other"}


def test_workers_and_running_trials_are_in_the_way(storage_url: str, target_url: str, tmp_path: Path) -> None:
    opened = fabricate(storage_url, 8)
    register_worker(opened.storage, opened.study_id, WorkerEntry("w1", "elsewhere", 7, "cpu"))
    before = contents(storage_url)
    with pytest.raises(InputError, match=r"1 worker at work on it, elsewhere \(pid 7\)"):
        move_studies(storage_url, target_url)
    assert contents(storage_url) == before
    assert not (tmp_path / "target.db").exists()


def test_a_running_trial_waits_in_the_target_if_forced(storage_url: str, target_url: str) -> None:
    opened = make(storage_url)
    claimed = claim(opened.storage, opened.study_id, "w1")
    assert claimed is not None
    with pytest.raises(InputError, match=r"1 trial running.*'gloss-tune reap'"):
        move_studies(storage_url, target_url)
    assert move_studies(storage_url, target_url, force=True).requeued == 1
    there = join(target_url)
    again = claim(there.storage, there.study_id, "w2")
    assert again is not None
    assert (again.number, again.attempt) == (claimed.number, claimed.attempt + 1)
    opened.storage.hold(claimed.trial_id, claimed.attempt)
    assert claim(opened.storage, opened.study_id, "w3") is None  # nobody begins anything there


def test_steering_goes_along(storage_url: str, target_url: str) -> None:
    opened = make(storage_url)
    steer(opened.storage, opened.study_id, Steering.paused)
    assert move_studies(storage_url, target_url).steered == ("study",)
    there = join(target_url)
    assert read_steering(there.storage, there.study_id) is Steering.paused


def test_another_study_of_the_name_is_in_the_way(storage_url: str, target_url: str) -> None:
    fabricate(storage_url, 4)
    make(storage_url, "second")
    make(target_url, "second", trials=9)
    before = contents(storage_url), contents(target_url)
    with pytest.raises(InputError, match=r"has another study 'second'; rename"):
        move_studies(storage_url, target_url)
    assert (contents(storage_url), contents(target_url)) == before


def test_a_move_that_was_broken_off_at_its_end_is_finished(
    storage_url: str, target_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(fabricate(storage_url, 8))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gloss_tune.catalog.move._leave", killed)
        with pytest.raises(KeyboardInterrupt):
            move_studies(storage_url, target_url)
    assert everything(join(storage_url)) == before
    assert everything(join(target_url)) == before
    assert move_studies(storage_url, target_url).trials == 8
    with pytest.raises(InputError, match="was moved"):
        open_study(storage_url)


def test_a_target_that_changes_what_it_is_given_gets_nothing(
    storage_url: str, target_url: str, tmp_path: Path
) -> None:
    fabricate(storage_url, 8)
    make(target_url, "other")
    before = contents(storage_url), contents(target_url)
    engine = sqlalchemy.create_engine(target_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER rounds AFTER INSERT ON trial_params BEGIN "
            "UPDATE trial_params SET param_value = round(param_value, 3) WHERE param_id = NEW.param_id; END"
        )
    with pytest.raises(GlossTuneError, match=r"What arrived is not what was sent: .* of trial_params"):
        move_studies(storage_url, target_url)
    assert (contents(storage_url), contents(target_url)) == before
    engine.dispose()


KILLED = """
import os, signal, sys
import alembic.config, alembic.migration, alembic.script, psycopg, sqlalchemy.dialects.postgresql.psycopg
from gloss_tune.catalog import move
from gloss_tune.storage import transfer
kept, tables = transfer._insert, []
def insert(session, table, rows):
    kept(session, table, rows)
    tables.append(table.name)
    if len(tables) == at:
        os.kill(os.getpid(), signal.SIGKILL)
transfer._insert = insert
for at in (1, 6):
    child = os.fork()
    if not child:
        move.move_studies(sys.argv[1], sys.argv[2])
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("back", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_kill_in_the_middle_leaves_the_source_whole_and_the_target_empty(
    storage_url: str, target_url: str, back: bool
) -> None:
    before = everything(fabricate(storage_url, 40))
    if back:
        move_studies(storage_url, target_url, delete_source=True)
    source, target = (target_url, storage_url) if back else (storage_url, target_url)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, source, target],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert killed.stdout.split() == [str(-signal.SIGKILL)] * 2
    assert names(target) == set()
    assert everything(join(source)) == before
    move_studies(source, target)
    assert everything(join(target)) == before


def test_a_storage_is_not_moved_to_itself(
    storage_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(storage_url)
    (tmp_path / "link.db").symlink_to(tmp_path / "study.db")
    others = [storage_url, storage_url.replace("127.0.0.1", "localhost")]
    if storage_url.startswith("sqlite"):
        others += ["sqlite:///study.db", "sqlite:///link.db", f"sqlite:///{tmp_path}/./study.db"]
    for other in others:
        with pytest.raises(InputError, match="both FROM and TO are"):
            move_studies(storage_url, other)


def test_a_study_of_plain_optuna_stays(storage_url: str, target_url: str) -> None:
    make(storage_url)
    optuna.create_study(storage=open_storage(storage_url), study_name="plain")
    move_studies(storage_url, target_url)
    assert names(target_url) == {"study"}
    with pytest.raises(InputError, match="was not made by gloss-tune"):
        move_studies(storage_url, target_url, "plain")
    with pytest.raises(InputError, match="There is no study 'typo'"):
        move_studies(storage_url, target_url, "typo")
