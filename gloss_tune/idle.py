"""How many cores nobody else uses now: by the kernel's counters of the last moments, no average of the past."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

#: Seconds over which the counters are compared: they count in hundredths.
SHORTEST = 0.3
# a longer span says more about the past than about now
_LONGEST = 30.0
_STAT, _CGROUP, _CGROUPS = Path("/proc/stat"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# of psutil's times of a processor: guests are counted among the users, the rest is not work
_NO_WORK = ("idle", "iowait", "steal", "guest", "guest_nice")


@dataclass(frozen=True)
class Quota:
    """What a container or a batch system allows a group of processes.

    Args:
        cores: how many they may use in all.
        used: seconds of processor time that they have used.
    """

    cores: float
    used: float


@dataclass(frozen=True)
class Counters:
    """Processor time until now, in seconds.

    Args:
        at: when they were read, by a clock that never goes back.
        busy: how long each processor that this process may use has worked, for whomever.
        quotas: of the groups that this process is in, by their folder.
        own: of this process and all that it has started.
        neighbours: of other processes that are not strangers, by their id.
    """

    at: float
    busy: Mapping[int, float]
    quotas: Mapping[str, Quota]
    own: float
    neighbours: Mapping[int, float]


class IdleCores:
    """Looks again and again; what counts is what has happened since the last look.

    Args:
        read: the counters, given the ids of neighbours.
        sleep: to wait for the second of two looks.
    """

    def __init__(
        self,
        read: Callable[[Collection[int]], Counters] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._read = read or read_counters
        self._sleep = sleep
        self._last = self._read(())

    def left(self, neighbours: Collection[int] = ()) -> float:
        """Cores that are left to this process and its neighbours.

        Waits where the last look (the first is when this is made) was too short or too long ago to tell.

        Args:
            neighbours: ids of processes with whom this one shares what is left.
        """
        now, last = self._read(neighbours), self._last
        if now.at - last.at > _LONGEST:
            last = now
        if (short := SHORTEST - (now.at - last.at)) > 0:
            self._sleep(short)
            now = self._read(neighbours)
        self._last = now
        return cores_left(last, now)


def cores_left(before: Counters, now: Counters) -> float:
    """Cores that strangers did not use between two readings, at least 0."""
    seconds = max(now.at - before.at, 1e-3)
    known = now.neighbours.keys() & before.neighbours.keys()
    ours = now.own - before.own + sum(now.neighbours[pid] - before.neighbours[pid] for pid in known)
    processors = now.busy.keys() & before.busy.keys()
    busy = sum(now.busy[one] - before.busy[one] for one in processors)
    left = len(now.busy) - max(0.0, busy - ours) / seconds
    for group in now.quotas.keys() & before.quotas.keys():
        quota = now.quotas[group]
        strangers = max(0.0, quota.used - before.quotas[group].used - ours) / seconds
        left = min(left, quota.cores - strangers)
    return max(0.0, left)


def read_counters(neighbours: Collection[int]) -> Counters:
    """The counters now; what the system does not tell counts as idle."""
    return Counters(
        at=time.monotonic(),
        busy=_busy(),
        quotas=dict(_quotas()),
        own=_own(),
        neighbours={pid: used for pid in neighbours if (used := _used(pid)) is not None},
    )


def _busy() -> dict[int, float]:
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    try:
        found = dict(_processors(_STAT.read_text()))
    except (OSError, ValueError):  # not Linux
        times = psutil.cpu_times(percpu=True)
        found = {
            number: sum(spent for name, spent in one._asdict().items() if name not in _NO_WORK)
            for number, one in enumerate(times)
        }
    return {number: spent for number, spent in found.items() if usable is None or number in usable}


def _processors(stat: str) -> Iterator[tuple[int, float]]:
    """Read here and not by psutil, which does not tell the numbers where some processors are switched off."""
    tick = os.sysconf("SC_CLK_TCK")
    for line in stat.splitlines():
        name, *numbers = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, _, _, irq, softirq = map(int, numbers[:7])
            yield int(name[3:]), (user + nice + system + irq + softirq) / tick


def _quotas() -> Iterator[tuple[str, Quota]]:
    """Of this process's control group and of all around it (version 2; of version 1 the cores alone are known)."""
    try:
        lines = _CGROUP.read_text().splitlines()
    except OSError:
        return
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return
    folder = _CGROUPS / own.strip("/")
    for group in (folder, *folder.parents):
        if not group.is_relative_to(_CGROUPS):
            return
        try:
            allowed, period = (group / "cpu.max").read_text().split()
            if allowed != "max":
                used = (group / "cpu.stat").read_text().split()
                seconds = int(used[used.index("usage_usec") + 1]) / 1e6
                yield str(group), Quota(int(allowed) / int(period), seconds)
        except (OSError, ValueError):
            continue  # the outermost group has neither


def _own() -> float:
    times = os.times()
    spent = time.process_time() + times.children_user + times.children_system
    try:
        children = psutil.Process().children(recursive=True)
    except psutil.Error:
        return spent
    return spent + sum(_used(child.pid) or 0.0 for child in children)


def _used(pid: int) -> float | None:
    """Processor time of a process and of what it has started and seen end; None where it is gone or hidden."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None
    children = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return float(times.user + times.system + children)
