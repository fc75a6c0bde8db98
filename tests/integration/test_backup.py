"""Storages kept in files and put back: what workers do meanwhile is neither hindered nor torn."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from gloss_tune.catalog.backup import backup_storage, restore_storage
from gloss_tune.catalog.move import move_studies
from gloss_tune.errors import InputError, StorageError
from gloss_tune.queue.claims import claim
from gloss_tune.queue.heartbeats import WorkerEntry, register_worker
from gloss_tune.storage import dump, postgres_programs
from gloss_tune.storage.connect import open_storage
from gloss_tune.storage.postgres_programs import Release, releases
from tests.integration.fabricated import everything, fabricate
from tests.integration.studies import contents, join, make

pytestmark = [pytest.mark.timeout(60), pytest.mark.prepared]


@pytest.fixture(params=["study.bak", "study.db"])
def file(request: pytest.FixtureRequest, tmp_path: Path, storage_url: str) -> Path:
    """Where to keep it: of Postgres the first becomes a dump."""
    folder = tmp_path / "backups"
    folder.mkdir()
    path: Path = folder / request.param
    if path.suffix == ".bak" and storage_url.startswith("postgres") and not releases("pg_dump", "pg_restore"):
        pytest.skip("no pg_dump")
    return path


def test_what_was_kept_comes_back(storage_url: str, file: Path) -> None:
    before = everything(fabricate(storage_url, 40))
    make(storage_url, "other", trials=3)
    kept = backup_storage(storage_url, file)
    is_dump = storage_url.startswith("postgres") and file.suffix == ".bak"
    assert (kept.kind, kept.studies, kept.trials) == ("pg_dump" if is_dump else "SQLite", 2, 43)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    make(storage_url, "later")
    held = contents(storage_url)
    with pytest.raises(InputError, match="holds 3 studies"):
        restore_storage(storage_url, file)
    assert contents(storage_url) == held
    restored = restore_storage(storage_url, file, overwrite=True)
    assert (restored.studies, restored.trials) == (2, 43)
    assert everything(join(storage_url, "study")) == before
    assert {study.study_name for study in open_storage(storage_url).get_all_studies()} == {"study", "other"}
    make(storage_url, "more")  # keys of new rows are free


def test_an_sqlite_file_goes_into_any_storage(storage_url: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'source.db'}"
    before = everything(fabricate(url, 12))
    backup_storage(url, tmp_path / "kept")
    restore_storage(storage_url, tmp_path / "kept")
    assert everything(join(storage_url)) == before


def test_running_trials_run_again(storage_url: str, file: Path, tmp_path: Path) -> None:
    opened = make(storage_url)
    register_worker(opened.storage, opened.study_id, WorkerEntry("w1", "elsewhere", 7, "cpu"))
    assert claim(opened.storage, opened.study_id, "w1") is not None
    backup_storage(storage_url, file)
    with pytest.raises(InputError, match="1 worker at work"):
        restore_storage(storage_url, file, overwrite=True)
    if file.read_bytes()[:5] == b"PGDMP":
        return
    url = f"sqlite:///{tmp_path / 'restored.db'}"
    assert restore_storage(url, file).running == 1
    there = join(url)
    there.requeue_lost(all_running=True)
    again = claim(there.storage, there.study_id, "w2")
    assert again is not None
    assert (again.number, again.attempt) == (0, 2)


def test_a_file_that_is_there_stays(storage_url: str, file: Path) -> None:
    make(storage_url)
    file.write_text("precious")
    with pytest.raises(InputError, match="is there already"):
        backup_storage(storage_url, file)
    assert file.read_text() == "precious"
    backup_storage(storage_url, file, overwrite=True)
    assert file.read_bytes()[:5] in (b"SQLit", b"PGDMP")


def test_files_that_are_no_backups(storage_url: str, tmp_path: Path) -> None:
    before = contents(storage_url)
    text, empty, torn = tmp_path / "text", tmp_path / "empty", tmp_path / "torn"
    text.write_text("x" * 100)
    empty.touch()
    torn.write_bytes(b"PGDMP" + b"\0" * 50)
    for path, reason in (
        (text, "is no backup"),
        (empty, "is no backup"),
        (tmp_path / "missing", r"cannot be read as a backup \(No such file"),
        (tmp_path, r"cannot be read as a backup \(Is a directory"),
        (torn, "cannot be read as a dump|There is no pg_dump"),
    ):
        with pytest.raises(InputError, match=reason):
            restore_storage(storage_url, path)
    other = tmp_path / "another.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE trials (wine TEXT)")
    connection.close()
    with pytest.raises(StorageError, match="tables of another tool"):
        restore_storage(storage_url, other)
    assert contents(storage_url) == before


def test_a_backup_is_another_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    make(url)
    before = contents(url)
    with pytest.raises(InputError, match="another file than its storage"):
        backup_storage(url, tmp_path / "study.db", overwrite=True)
    with pytest.raises(InputError, match="another file than its storage"):
        restore_storage(url, tmp_path / "study.db", overwrite=True)
    with pytest.raises(InputError, match="in a folder that is there"):
        backup_storage(url, tmp_path / "nowhere" / "file")
    assert contents(url) == before


needs_tools = pytest.mark.skipif(not releases("pg_dump", "pg_restore"), reason="no pg_dump")


@needs_tools
@pytest.mark.postgres
def test_a_dump_goes_into_no_sqlite_file(postgres_url: str, tmp_path: Path) -> None:
    make(postgres_url)
    backup_storage(postgres_url, tmp_path / "kept.dump")
    with pytest.raises(InputError, match=r"is a dump of Postgres, and sqlite:///.* is SQLite"):
        restore_storage(f"sqlite:///{tmp_path / 'new.db'}", tmp_path / "kept.dump")
    assert not (tmp_path / "new.db").exists()


@needs_tools
@pytest.mark.postgres
def test_other_tools_tables_are_not_taken_along(postgres_url: str, tmp_path: Path) -> None:
    opened = make(postgres_url)
    engine = opened.storage.engine
    with engine.begin() as connection:
        connection.exec_driver_sql('CREATE TABLE "other ""one" (x int)')
        connection.exec_driver_sql('CREATE VIEW looks AS SELECT * FROM "other ""one"')
    backup_storage(postgres_url, tmp_path / "kept.dump")
    with engine.begin() as connection:
        connection.exec_driver_sql('INSERT INTO "other ""one" VALUES (1)')
    restore_storage(postgres_url, tmp_path / "kept.dump", overwrite=True)
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM looks").scalar() == 1


@pytest.mark.postgres
def test_tools_that_do_not_know_the_server(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(postgres_url)
    monkeypatch.setattr(dump, "releases", lambda *_: [Release(tmp_path, 9)])
    with pytest.raises(StorageError, match=r"the newest pg_dump on this machine is 9.*ends in \.db"):
        backup_storage(postgres_url, tmp_path / "kept.dump")
    monkeypatch.setattr(dump, "releases", lambda *_: [])
    with pytest.raises(StorageError, match="There is no pg_dump on this machine"):
        backup_storage(postgres_url, tmp_path / "kept.dump")
    assert list(tmp_path.iterdir()) == []
    backup_storage(postgres_url, tmp_path / "kept.db")  # as it says


def test_releases_are_told_by_their_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (9, 17):
        folder = tmp_path / f"{number}" / "bin"
        folder.mkdir(parents=True)
        program = folder / "pg_dump"
        program.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {number}.3 (Debian)'\n")
        program.chmod(0o755)
    broken = tmp_path / "broken" / "bin"
    broken.mkdir(parents=True)
    shutil.copy("/bin/false", broken / "pg_dump")
    folders = (tmp_path / "9" / "bin", broken, tmp_path / "17" / "bin")
    monkeypatch.setattr(postgres_programs, "_folders", lambda: folders)
    assert [release.major for release in releases("pg_dump")] == [9, 17]
    assert releases("pg_dump", "initdb") == []


def test_a_moved_study_stays_moved(storage_url: str, tmp_path: Path) -> None:
    make(storage_url)
    move_studies(storage_url, f"sqlite:///{tmp_path / 'there.db'}")
    backup_storage(storage_url, tmp_path / "kept.db")
    restore_storage(f"sqlite:///{tmp_path / 'restored.db'}", tmp_path / "kept.db")
    with pytest.raises(InputError, match="was moved"):
        join(f"sqlite:///{tmp_path / 'restored.db'}")
