"""Whole or not there: under errors, a full disk, a killed process, and many writers at once."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gloss_tune.atomic import PART, part_beside, whole_file, whole_folder, write_whole
from tests.disks import no_file_larger_than


class Broken(Exception):
    """The writer's own fault."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(folder: Path, files: dict[str, bytes], error: type[BaseException] | None = None) -> None:
    with whole_folder(folder) as part:
        for name, content in files.items():
            (part / name).write_bytes(content)
        if error is not None:
            raise error


def test_text_and_bytes_are_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, "größe\n")
    assert path.read_bytes() == "größe\n".encode()
    write_whole(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert names(tmp_path) == ["file"]


def test_nothing_is_seen_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with whole_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
def test_a_writer_that_raises_changes_nothing(error: type[BaseException], tmp_path: Path) -> None:
    def write_file() -> None:
        with whole_file(tmp_path / "file") as file:
            file.write(b"new")
            raise error

    (tmp_path / "file").write_text("old")
    with pytest.raises(error):
        write_file()
    with pytest.raises(error):
        fill(tmp_path / "folder", {"a": b"new"}, error)
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with no_file_larger_than(1000), pytest.raises(OSError, match="large"):
        write_whole(tmp_path / "file", b"x" * 100_000)
    with no_file_larger_than(1000), pytest.raises(OSError, match="large"):
        fill(tmp_path / "folder", {"small": b"x", "large": b"x" * 100_000})
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_what_the_disk_does_not_take_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        write_whole(tmp_path / "file", "new")
    with pytest.raises(OSError, match="Input/output"):
        fill(tmp_path / "folder", {"a": b"new"})
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_permissions_are_those_of_any_new_file(mask: int, tmp_path: Path) -> None:
    """Workers of a group share checkpoints: a file that only its writer can read is of no use to them."""
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "file", "x")
        with whole_folder(tmp_path / "folder") as folder:
            (folder / "weights").touch(0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "folder" / "weights").stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~mask


def test_a_folder_appears_with_all_its_files(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "model", ".attempt-2") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("1")
        (folder / "b").write_text("2")
        assert not (tmp_path / "model").exists()
        assert folder.name.startswith(".model.attempt-2.")
        assert folder.name.endswith(PART)
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "sub" / "a").read_text() == "1"
    assert (tmp_path / "model" / "b").read_text() == "2"


def test_a_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("1")
    with pytest.raises(OSError, match="model"):
        fill(tmp_path / "model", {"new": b"2"})
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["old"]


def test_parts_stand_beside_and_never_share_a_name(tmp_path: Path) -> None:
    parts = {part_beside(tmp_path / "file") for _ in range(100)}
    assert len(parts) == 100
    assert {part.parent for part in parts} == {tmp_path}


def test_readers_never_see_half_of_what_many_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([letter]) * 200_000 for letter in b"abcd"]
    write_whole(path, contents[0])
    writers = [
        threading.Thread(target=lambda c=c: [write_whole(path, c) for _ in range(10)]) for c in contents
    ]
    for writer in writers:
        writer.start()
    seen = 0
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() in contents
        seen += 1
    assert seen
    assert names(tmp_path) == ["file"]


KILLED = """
import os, signal, sys
from pathlib import Path
from gloss_tune.atomic import whole_file, whole_folder
with whole_folder(Path(sys.argv[1], "model")) as folder, whole_file(Path(sys.argv[1], "file")) as file:
    file.write(b"new" * 100_000)
    (folder / "a").write_text("new")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_only_parts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "file").read_text() == "old"
    assert not (tmp_path / "model").exists()
    left = [name for name in names(tmp_path) if name != "file"]
    assert len(left) == 2
    assert all(name.startswith(".") and name.endswith(PART) for name in left)
