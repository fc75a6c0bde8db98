"""Studies that this user may only read: an archive, a colleague's result. Root gives up its rights for it."""

from __future__ import annotations

import ctypes
import os
import signal
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import typer.testing

import gloss_tune.cli as command_line
from gloss_tune.errors import StorageError
from gloss_tune.queue.budget import counts
from gloss_tune.signals import StopFlag
from gloss_tune.study.study import open_study
from gloss_tune.workers.worker import WorkerOptions, work
from tests.integration.studies import make

pytestmark = pytest.mark.timeout(120)

_NOBODY, _CANNOT = 65534, 77
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
READING = [
    ["status", "--format", "json"],
    ["trials", "--format", "json"],
    ["export"],
    ["compare", "--format", "json"],
]
WRITING = [["reap"], ["worker"], ["launch", "--workers", "1"], ["confirm"], ["report", "--output", "r"]]


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Path]:
    """A folder with a finished study that belongs to somebody else."""
    folder = tmp_path / "archive"
    folder.mkdir()
    opened = make(f"sqlite:///{folder}/study.db", trials=2)
    work(opened, WorkerOptions(artifacts=tmp_path), StopFlag())
    opened.storage.remove_session()
    opened.storage.engine.dispose()
    (folder / "study.db.lock").unlink(missing_ok=True)
    yield protected(folder)
    folder.chmod(0o755)


def protected(folder: Path, mode: int = 0o555) -> Path:
    for path in folder.iterdir():
        path.chmod(0o444)
        if os.geteuid() == 0:
            os.chown(path, _NOBODY, _NOBODY)
    if os.geteuid() == 0:
        os.chown(folder, _NOBODY, _NOBODY)
    folder.chmod(mode)
    return folder


def opened_up(folder: Path) -> None:
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)


def give_up_rights() -> None:
    """From now on, this process of root's is bound by the permissions of files that belong to others."""
    if os.geteuid() == 0:
        header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
        if ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()) != 0:
            os._exit(_CANNOT)


def as_reader(*arguments: str) -> tuple[int, str]:
    """Run a command in a fork of this process that may write to nobody else's files."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            give_up_rights()
            result = typer.testing.CliRunner().invoke(command_line.app, list(arguments))
            code = result.exit_code
            if result.exception is not None and not isinstance(result.exception, SystemExit):
                code = getattr(result.exception, "exit_code", 70)
                os.write(1, f"Error: {result.exception}".encode())
            os.write(1, result.output.encode())
        except BaseException:
            os.write(1, traceback.format_exc().encode())
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == _CANNOT:
        pytest.skip("root cannot give up its rights here")
    return code, told


def writable_folder(folder: Path) -> None:
    protected(folder, 0o777)


def plain_journal(folder: Path) -> None:
    opened_up(folder)
    with closing(sqlite3.connect(folder / "study.db")) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    protected(folder)


def left_by_a_killed_writer(folder: Path) -> None:
    """Its last transaction is in the log alone."""
    opened_up(folder)
    code = (
        "import os, signal, sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        "c.execute('UPDATE studies SET study_name = ?', ('renamed',)); c.commit(); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(folder / "study.db")], check=False)
    assert killed.returncode == -signal.SIGKILL
    protected(folder)


def without_index(folder: Path) -> None:
    left_by_a_killed_writer(folder)
    folder.chmod(0o755)
    (folder / "study.db-shm").unlink()
    folder.chmod(0o555)


def without_index_in_writable_folder(folder: Path) -> None:
    without_index(folder)
    folder.chmod(0o777)


@pytest.mark.parametrize(
    "state",
    [
        lambda folder: None,
        writable_folder,
        plain_journal,
        left_by_a_killed_writer,
        without_index,
        without_index_in_writable_folder,
    ],
    ids=[
        "archive",
        "writable folder",
        "plain journal",
        "killed writer",
        "no index",
        "no index, writable folder",
    ],
)
def test_who_may_only_read_sees_all_and_leaves_nothing(state, archive: Path) -> None:
    state(archive)
    before = {path.name: path.stat().st_mtime_ns for path in archive.iterdir()}
    url = f"sqlite:///{archive}/study.db"
    for command in READING:
        code, told = as_reader(*command, "--storage", url)
        assert code == 0, told
    assert '"complete": 2' in as_reader("status", "--format", "json", "--storage", url)[1]
    name = "renamed" if (archive / "study.db-wal").exists() else "study"
    assert f'"study": "{name}"' in as_reader("export", "--storage", url)[1], "what the log holds counts"
    assert {path.name: path.stat().st_mtime_ns for path in archive.iterdir()} == before


def test_who_may_only_read_is_told_so_before_anything_is_written(archive: Path) -> None:
    for command in WRITING:
        code, told = as_reader(*command, "--storage", f"sqlite:///{archive}/study.db")
        assert code == 2, told
        assert "may only be read by this user" in told
        assert "--no-publish" in told
    assert [path.name for path in archive.iterdir()] == ["study.db"]


def test_a_read_only_file_system(archive: Path, tmp_path: Path) -> None:
    if subprocess.run(["mount", "--bind", archive, tmp_path], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    url = f"sqlite:///{tmp_path}/study.db"
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", tmp_path], check=True)
        opened = open_study(url, read_only=True)
        assert sum(counts(opened.storage, opened.study_id).values()) == 2
        opened.storage.remove_session()
        with pytest.raises(StorageError, match="may only be read"):
            open_study(url)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_reader_sees_the_writer_that_comes_to_work_meanwhile(archive: Path) -> None:
    """A reader that takes the file to be final sees none of its changes."""
    if os.geteuid() != 0:
        pytest.skip("needs a writer that may do more than the reader")
    url = f"sqlite:///{archive}/study.db"
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            give_up_rights()
            opened = open_study(url, read_only=True)
            os.write(to_parent, bytes([sum(counts(opened.storage, 1).values())]))
            os.read(from_parent, 1)
            os.write(to_parent, bytes([sum(counts(opened.storage, 1).values())]))
        finally:
            os._exit(0)
    os.close(to_parent)
    assert os.read(from_child, 1) == b"\x02"
    with closing(sqlite3.connect(archive / "study.db")) as connection:
        connection.execute("INSERT INTO trials (number, study_id, state) VALUES (2, 1, 'WAITING')")
        connection.commit()
        os.write(to_child, b"x")
        assert os.read(from_child, 1) == b"\x03"
    os.waitpid(child, 0)
    for descriptor in (from_child, from_parent, to_child):
        os.close(descriptor)
