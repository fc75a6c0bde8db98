"""How much memory is free: on CUDA devices, and of this machine as far as this process may use it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from gloss_tune.finetune.cards import free_on_cards

# folder, limit, use, and what of the use is files that the kernel would drop; of the two kinds of cgroups
_CGROUPS_2 = ("", "memory.max", "memory.current", "inactive_file")
_CGROUPS_1 = ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_memory(devices: Sequence[str]) -> dict[str, int]:
    """Free bytes of each device as of now; the CPU's are those of :func:`free_ram`.

    Args:
        devices: such as ``cpu`` and ``cuda:0``.

    Raises:
        DeviceSilentError: torch does not say.
    """
    cuda = [device for device in devices if device != "cpu"]
    free = {device: free_ram() for device in devices if device == "cpu"}
    if cuda:
        free |= free_on_cards(cuda)
    return free


def free_ram(root: Path = Path("/")) -> int:
    """Bytes that new processes may take without swapping, in a container or a batch job as well.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    available: int = psutil.virtual_memory().available
    return max(0, min([available, *_rooms_in_cgroups(root)]))


def _rooms_in_cgroups(root: Path) -> Iterator[int]:
    """What is left below each limit that a container or a scheduler such as Slurm has set for this process."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        kind, limit, use, files = _CGROUPS_1 if controllers else _CGROUPS_2
        top = root / "sys/fs/cgroup" / kind
        here = top / path.lstrip("/")
        for folder in (here, *here.parents):
            # no such file: seen from inside a container, its own group is the top; no number: no limit
            with contextlib.suppress(OSError, ValueError, KeyError):
                of = dict(row.split() for row in (folder / "memory.stat").read_text().splitlines())
                used = int((folder / use).read_text()) - int(of[files])
                yield int((folder / limit).read_text()) - used
            if folder == top:
                break
