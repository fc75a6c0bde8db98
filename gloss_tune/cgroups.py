"""How much of a processor a container's or a job's quota leaves: of this process's own group and of all above it."""

from __future__ import annotations

import math
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def quota_cores(root: Path = _ROOT, own: Path = _OWN) -> int | None:
    """Processors by the tightest quota, rounded up; None without one, or where that cannot be told.

    Args:
        root: where control groups are mounted, version 1 or 2 or both.
        own: the list of this process's groups.
    """
    try:
        lines = own.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # not on Linux
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            bases = [root, root / "unified"]
        elif "cpu" in controllers.split(","):
            bases = [root / "cpu", root / controllers, root / "cpu,cpuacct"]
        else:
            continue
        for base in bases:
            quotas += [found for folder in _upwards(base, path) if (found := _quota(folder)) is not None]
    return max(1, math.ceil(min(quotas) - 1e-9)) if quotas else None


def _upwards(base: Path, path: str) -> list[Path]:
    """A group's folder and all above it; a container may see its own group as the root, whatever its path says."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [base.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():  # version 2: "max 100000" or "150000 100000"
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        if quota == "max" or int(quota) <= 0 or int(period) <= 0:
            return None
        return int(quota) / int(period)
    except (OSError, ValueError):
        return None
