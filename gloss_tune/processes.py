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
def boot() -> str:
    """This start of this machine, whose monotonic clock all its processes share; empty where that cannot be told.

    Processes in a namespace of their own for the time have a clock of their own.
    """
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        clock = Path("/proc/self/ns/time")
        return f"{start}:{clock.stat().st_ino}" if clock.exists() else start
    except OSError:
        return ""


@cache
def _machine() -> str:
    """One boot of one machine and, on Linux, one namespace of process ids: containers may share a host's name.

    Machines that were cloned while they ran share even the boot; their names and network cards mostly differ.
    """
    number = uuid.getnode()
    is_made_up = number >> 40 & 1  # for want of a network card, and anew in each process
    card = f"{socket.gethostname()}:{0 if is_made_up else number:x}"
    if sys.platform == "darwin":
        return card
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{start}:{Path('/proc/self/ns/pid').stat().st_ino}:{card}"
    except OSError:
        return ""
