"""``storage backup``, ``restore`` and ``move`` as real commands, beside workers and with wrong input."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from gloss_tune.storage.postgres_programs import releases
from tests.acceptance.conftest import Commands


def states(commands: Commands, storage: str) -> list[str]:
    rows = commands.json("trials", "--storage", storage)
    assert [row["number"] for row in rows] == list(range(len(rows)))
    return [row["state"] for row in rows]


def held(folder: Path) -> set[str]:
    """Names in a folder, but for what SQLite keeps beside a file while it is open."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(("-wal", "-shm"))}


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_backup_under_four_workers_is_a_study_that_ends(on_storage: Commands) -> None:
    assert on_storage.storage is not None
    is_postgres = on_storage.storage.startswith("postgres")
    if is_postgres and not releases("pg_dump", "pg_restore"):
        pytest.skip("no pg_dump")
    on_storage(
        *("create", "--dataset", "mr", "--rehearse", "--rehearse-seconds", 1, "--trials", 24, "--lease", 20),
        *("--pruner", "none"),
    )
    workers = [on_storage.start("worker") for _ in range(4)]
    while on_storage.json("status")["trials"]["complete"] < 2:
        time.sleep(0.1)
    on_storage("storage", "backup", "kept")
    assert any(worker.poll() is None for worker in workers)
    for worker in workers:
        worker.ended(0, timeout=100)
    assert states(on_storage, on_storage.storage) == ["complete"] * 24
    there = on_storage.storage if is_postgres else "sqlite:///restored.db"
    said = on_storage("storage", "restore", "kept", "--storage", there, "--overwrite").stderr
    assert "Restored and compared: 1 study with 24 trials" in said
    restored = states(on_storage, there)
    assert 2 <= restored.count("complete") < 24
    on_storage("reap", "--all", "--storage", there)
    again = [on_storage.start("worker", "--storage", there) for _ in range(4)]
    for worker in again:
        worker.ended(0, timeout=100)
    rows = on_storage.json("trials", "--storage", there)
    assert [row["state"] for row in rows] == ["complete"] * 24
    assert len({str(row["params"]) for row in rows}) == 24


def test_wrong_input_ends_with_2_and_a_sentence(commands: Commands) -> None:
    folder = commands.folder
    for name, study in (("a", "s"), ("b", "s"), ("c", "other")):
        commands(
            *("create", "--dataset", "mr", "--rehearse", "--trials", 2, "--study", study),
            *("--storage", f"sqlite:///{name}.db"),
        )
    Path(folder, "text").write_text("text")
    before = held(folder)
    for arguments, reason in (
        (("move", "sqlite:///a.db", "sqlite:///a.db"), "both FROM and TO are"),
        (("move", "sqlite:///nothing.db", "sqlite:///n.db"), "does not exist"),
        (("move", "sqlite:///a.db", "sqlite:///nowhere/n.db"), "the folder nowhere does not exist"),
        (("move", "sqlite:///a.db", "@text"), "must be a database URL"),
        (("move", "@nothing", "sqlite:///n.db"), "cannot be read"),
        (("move", "sqlite:///a.db", "sqlite:///b.db"), "has another study 's'; rename"),
        (("move", "sqlite:///a.db", "sqlite:///n.db", "--study", "typo"), "There is no study 'typo'"),
        (("move", "sqlite:///a.db", "sqlite:///text"), "is not an SQLite database"),
        (("backup", "text", "--storage", "sqlite:///a.db"), "is there already"),
        (("backup", "nowhere/kept", "--storage", "sqlite:///a.db"), "in a folder that is there"),
        (("backup", "n.db", "--storage", "sqlite:///nothing.db"), "does not exist"),
        (
            ("restore", "a.db", "--storage", "sqlite:///c.db"),
            "holds 1 study (other); restore into an empty one",
        ),
        (("restore", "text", "--storage", "sqlite:///n.db"), "is no backup"),
        (("restore", "nothing", "--storage", "sqlite:///n.db"), "cannot be read as a backup"),
        (("serve", "--stop", "--dir", "nowhere"), "is no folder of a server"),
        (("serve", "--stop", "--port", "7777"), "leave out everything but --dir"),
    ):
        ended = commands("storage", *arguments, exit_code=2)
        assert reason in ended.stderr, arguments
        assert ended.stdout == ""
        assert [
            line for line in ended.stderr.splitlines() if line.startswith("Error: ")
        ] == ended.stderr.splitlines()
        assert held(folder) == before, arguments


def test_studies_are_moved_and_said_to_be(commands: Commands) -> None:
    commands(
        "create",
        "--dataset",
        "mr",
        "--rehearse",
        "--trials",
        2,
        "--study",
        "s",
        "--storage",
        "sqlite:///a.db",
    )
    commands("worker", "--storage", "sqlite:///a.db")
    moved = commands("storage", "move", "sqlite:///a.db", "sqlite:///b.db")
    assert "1 study (s) with 2 trials" in moved.stderr
    assert "--artifacts" in moved.stderr
    refused = commands("worker", "--storage", "sqlite:///a.db", exit_code=2)
    assert "was moved from storage sqlite:///a.db to sqlite:////" in refused.stderr
    looked = commands("status", "--storage", "sqlite:///a.db")
    assert "this is how it was then" in looked.stderr
    assert states(commands, "sqlite:///b.db") == ["complete"] * 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="not root")
def test_a_server_is_not_started_by_root(commands: Commands) -> None:
    refused = commands("storage", "serve", exit_code=2)
    assert refused.stderr.startswith("Error: Postgres does not run as root; start it as an ordinary user")
    assert held(commands.folder) == set()
