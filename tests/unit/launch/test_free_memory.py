"""Free memory as devices, containers and schedulers count it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from gloss_tune.errors import DeviceSilentError
from gloss_tune.finetune import cards
from gloss_tune.finetune.cards import ask_torch
from gloss_tune.launch.free_memory import free_memory, free_ram

MB = 10**6


def cgroup(root: Path, folder: str, version: int, limit: object, use: int, files: int) -> None:
    """One group with a limit, what it uses, and what of that are files."""
    place = root / "sys/fs/cgroup" / folder
    place.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current", "inactive_file")
    if version == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    (place / names[0]).write_text(f"{limit}\n")
    (place / names[1]).write_text(f"{use}\n")
    (place / "memory.stat").write_text(f"anon 1\n{names[2]} {files}\n")


def belongs_to(root: Path, *lines: str) -> None:
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/cgroup").write_text("\n".join(lines) + "\n")


def test_without_limits_it_is_what_the_system_has(tmp_path: Path) -> None:
    available = psutil.virtual_memory().available
    assert free_ram(tmp_path) == pytest.approx(available, rel=0.2)
    belongs_to(tmp_path, "0::/user")
    cgroup(tmp_path, "user", 2, "max", 5 * MB, 0)
    assert free_ram(tmp_path) == pytest.approx(available, rel=0.2)


def test_a_limit_leaves_what_is_not_used_and_files_do_not_count(tmp_path: Path) -> None:
    belongs_to(tmp_path, "0::/job/step")
    cgroup(tmp_path, "job/step", 2, 50 * MB, 30 * MB, 10 * MB)
    assert free_ram(tmp_path) == 30 * MB


def test_the_tightest_limit_of_all_levels_counts(tmp_path: Path) -> None:
    belongs_to(tmp_path, "0::/job/step")
    cgroup(tmp_path, "job/step", 2, 50 * MB, 10 * MB, 0)
    cgroup(tmp_path, "job", 2, 60 * MB, 35 * MB, 0)
    assert free_ram(tmp_path) == 25 * MB
    cgroup(tmp_path, "job", 2, 60 * MB, 61 * MB, 0)
    assert free_ram(tmp_path) == 0


def test_the_older_kind_seen_from_inside_a_container(tmp_path: Path) -> None:
    """The path is that outside; inside, the group is the top."""
    belongs_to(tmp_path, "5:cpu,cpuacct:/docker/c0ffee", "9:memory:/docker/c0ffee", "0::/docker/c0ffee")
    cgroup(tmp_path, "memory", 1, 40 * MB, 15 * MB, 5 * MB)
    cgroup(tmp_path, "cpu,cpuacct", 1, 1 * MB, 0, 0)
    assert free_ram(tmp_path) == 30 * MB


def test_what_cannot_be_read_limits_nothing(tmp_path: Path) -> None:
    belongs_to(tmp_path, "0::/job")
    cgroup(tmp_path, "job", 2, 50 * MB, 10 * MB, 0)
    (tmp_path / "sys/fs/cgroup/job/memory.stat").write_text("inactive_file\n")
    assert free_ram(tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.2)


# ── CUDA devices ──

FAKE = """
print("a word at import")
class cuda:
    def mem_get_info(device):
        return {"cuda:0": (80, 99), "cuda:3": (7, 99)}[device]
"""


@pytest.fixture
def fake_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "torch", None)  # not to be imported here
    module = tmp_path / "torch.py"
    module.write_text(FAKE)
    return module


def test_another_process_measures_each_cuda_device(fake_torch: Path) -> None:
    assert free_memory(["cuda:3", "cuda:0"]) == {"cuda:3": 7, "cuda:0": 80}


def test_torch_is_asked_for_cuda_devices_only(fake_torch: Path) -> None:
    fake_torch.write_text("1 / 0")
    assert free_memory(["cpu"]).keys() == {"cpu"}
    with pytest.raises(DeviceSilentError, match=r"^ZeroDivisionError"):
        free_memory(["cpu", "cuda:0"])


def test_torch_that_hangs_or_says_nothing_gives_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceSilentError, match="exit code 0"):
        ask_torch("pass")
    monkeypatch.setattr(cards, "_PATIENCE_SECONDS", 0.5)
    started: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def remember(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", remember)
    with pytest.raises(DeviceSilentError, match=r"no answer within 0\.5 s"):
        ask_torch("import time; time.sleep(60)")
    assert started[0].poll() is not None
