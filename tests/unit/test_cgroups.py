"""Quotas of control groups, on trees made up here."""

from __future__ import annotations

from pathlib import Path

import pytest

from gloss_tune import cgroups, cores
from gloss_tune.cgroups import quota_cores


def tree(folder: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    root = folder / "cgroup"
    root.mkdir()
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content + "\n")
    (folder / "own").write_text(own)
    return root, folder / "own"


V2 = "0::/kubepods/pod1/main\n"
V1 = "5:memory:/slurm\n4:cpu,cpuacct:/slurm/job_7/step_0\n0::/\n"
HYBRID = "3:cpuset:/\n2:cpu:/box\n0::/box\n"


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        (V2, {"kubepods/pod1/main/cpu.max": "200000 100000"}, 2),
        (V2, {"kubepods/pod1/main/cpu.max": "max 100000", "kubepods/pod1/cpu.max": "150000 100000"}, 2),
        (V2, {"kubepods/pod1/main/cpu.max": "800000 100000", "kubepods/cpu.max": "100000 50000"}, 2),
        (V2, {"kubepods/pod1/main/cpu.max": "10000 100000"}, 1),
        (V2, {"cpu.max": "300000 100000"}, 3),
        (V2, {"kubepods/pod1/main/cpu.max": "max 100000"}, None),
        ("0::/../../other\n", {"cpu.max": "100000 100000"}, 1),
        (V2, {"elsewhere/cpu.max": "100000 100000"}, None),
        (V2, {"kubepods/pod1/main/cpu.max": "nonsense"}, None),
        (
            V1,
            {
                "cpu,cpuacct/slurm/job_7/step_0/cpu.cfs_quota_us": "-1",
                "cpu,cpuacct/slurm/job_7/step_0/cpu.cfs_period_us": "100000",
                "cpu,cpuacct/slurm/job_7/cpu.cfs_quota_us": "400000",
                "cpu,cpuacct/slurm/job_7/cpu.cfs_period_us": "100000",
            },
            4,
        ),
        (HYBRID, {"cpu/box/cpu.cfs_quota_us": "250000", "cpu/box/cpu.cfs_period_us": "100000"}, 3),
        (HYBRID, {"unified/box/cpu.max": "50000 100000"}, 1),
        ("", {"cpu.max": "100000 100000"}, None),
    ],
)
def test_the_tightest_quota_of_all_groups_above_counts(
    own: str, files: dict[str, str], cores: int | None, tmp_path: Path
) -> None:
    assert quota_cores(*tree(tmp_path, own, files)) == cores


def test_without_control_groups_nothing_is_told(tmp_path: Path) -> None:
    assert quota_cores(tmp_path, tmp_path / "no such file") is None


def test_usable_cores_are_at_most_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cgroups.quota_cores() is None or cgroups.quota_cores() >= 1
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    for quota, usable in ((None, 8), (3, 3), (99, 8)):
        monkeypatch.setattr(cores, "quota_cores", lambda quota=quota: quota)
        assert cores.usable_cores() == usable
