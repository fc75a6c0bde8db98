"""Sockets of multiprocessing where TMPDIR leaves them no room."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gloss_tune.launch.socket_folder import ensure_short_folder

START = """
import multiprocessing, sys, tempfile
from multiprocessing import util
from gloss_tune.launch.socket_folder import ensure_short_folder
ensure_short_folder()
print(util.get_temp_dir())
print(tempfile.gettempdir())
if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=print, args=("started",))
    process.start()
    process.join()
    manager = context.Manager()
    print(manager.dict(a=1)["a"])
    manager.shutdown()
"""


def start(tmpdir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START], env={"TMPDIR": str(tmpdir), "PYTHONPATH": str(Path.cwd())},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("length", [60, 75, 76, 79, 107, 200])
def test_processes_start_however_deep_the_folder_for_temporary_files(length: int, tmp_path: Path) -> None:
    deep = Path("/tmp") / f"gloss-tune-test-{tmp_path.name}"[:36]
    deep = deep / ("d" * (length - len(str(deep)) - 1))
    deep.mkdir(parents=True, exist_ok=True)
    try:
        started = start(deep)
        assert started.returncode == 0, started.stderr
        folder, temporary, *rest = started.stdout.splitlines()
        assert rest == ["started", "1"]
        assert temporary == str(deep), "everything else goes on where the user said"
        assert (Path(folder).parent == deep) == (length <= 75)
        assert not Path(folder).exists(), "removed at the end"
    finally:
        deep.rmdir()
        deep.parent.rmdir()


def test_without_a_folder_that_is_short_enough_the_next_step_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gloss_tune.errors import InputError

    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with pytest.raises(InputError, match="TMPDIR"):
        ensure_short_folder([str(deep), "/proc/no-such-folder"])
