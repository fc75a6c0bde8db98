"""A command's ``--output``: a file is replaced whole, anything else is written to."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from gloss_tune.cli.writing import write_whole
from gloss_tune.errors import InputError
from tests.disks import no_file_larger_than


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, "größe")
    reader.join(timeout=10)
    assert read == ["größe".encode()]
    assert pipe.is_fifo()


def test_a_full_disk_keeps_the_file_before(tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text("old")
    with no_file_larger_than(100), pytest.raises(InputError, match="choose another --output"):
        write_whole(tmp_path / "best.json", "x" * 1000)
    assert [path.name for path in tmp_path.iterdir()] == ["best.json"]
    assert (tmp_path / "best.json").read_text() == "old"
