"""Which process is which: enough to know, on the same machine, that one has ended."""

from __future__ import annotations

import os
import socket
import sys
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil


@dataclass(frozen=True)
class ProcessIdentity:
    """One process, as others may look for it.

    Args:
        host: name of its machine, for people.
        machine: within which process ids mean the same; empty where that cannot be told.
        pid: its id there.
    """

    host: str
    machine: str
    pid: int


def this_process() -> ProcessIdentity:
    """The identity of the calling process."""
    return ProcessIdentity(socket.gethostname(), _machine(), os.getpid())


def is_gone(identity: ProcessIdentity) -> bool:
    """Whether the process has surely ended.

    False wherever that cannot be known from here: on another machine, in another container, or where the process id
    belongs to some process again.
    """
    if not identity.machine or identity.machine != _machine():
        return False
    try:
        return bool(psutil.Process(identity.pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return not _exists(identity.pid)
    except psutil.AccessDenied:
        return False


def _exists(pid: int) -> bool:
    """Asked once more, of the kernel: /proc may hide other users' processes."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@cache
def _machine() -> str:
    """One boot of one machine and, on Linux, one namespace of process ids: containers may share a host's name."""
    if sys.platform == "darwin":
        return f"{socket.gethostname()}:{uuid.getnode():x}"
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""
