"""How much memory a run took, and what to do when the device has no more."""

from __future__ import annotations

import ctypes
import resource
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

from gloss_tune.errors import DeviceMemoryError
from gloss_tune.faults import is_device_lost, is_out_of_memory

_MEBIBYTE = 1024 * 1024

P = ParamSpec("P")
T = TypeVar("T")


def peak_memory_mb(device: torch.device) -> float:
    """Most memory so far: of torch on a GPU since ``reset_peak_memory``, of this process on a CPU, in MiB.

    On a GPU that is what torch held, whether tensors filled it or not: no other process could have had it.
    """
    reserved = getattr(_backend(device), "max_memory_reserved", None)
    if reserved is not None:
        return float(reserved(device)) / _MEBIBYTE
    high_water = _high_water_kib()
    if high_water is not None:
        return high_water / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MEBIBYTE


def _high_water_kib() -> int | None:
    """Linux's own mark; ``ru_maxrss`` there also has what the process that started this one held at that time."""
    try:
        with Path("/proc/self/status").open(encoding="utf-8") as status:
            return next((int(line.split()[1]) for line in status if line.startswith("VmHWM:")), None)
    except OSError:
        return None


def reset_peak_memory(device: torch.device) -> None:
    """Start the count of :func:`peak_memory_mb` again, where the device allows it."""
    reset = getattr(_backend(device), "reset_peak_memory_stats", None)
    if reset is not None:
        reset(device)


def return_free_memory() -> None:
    """Give the heap's free pages back to the system, where the C library is glibc; elsewhere do nothing.

    Batches of ever other lengths leave gaps: after an epoch on MR, half of a process's memory was free heap.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)


def free_memory(device: torch.device) -> None:
    """Make what no tensor holds any more available again, before a next try."""
    empty = getattr(_backend(device), "empty_cache", None)
    if empty is not None:
        empty()
    return_free_memory()


def free_bytes(device: torch.device) -> int | None:
    """What a GPU has left for this process, torch's own unused share included; None where nothing tells."""
    backend: Any = _backend(device)
    try:
        free, _ = backend.mem_get_info(device)
        return int(free) + int(backend.memory_reserved(device)) - int(backend.memory_allocated(device))
    except (AttributeError, RuntimeError, AssertionError) as error:
        if is_device_lost(error):
            raise
        return None


def _backend(device: torch.device) -> object | None:
    """Torch's functions for that kind of device, ``torch.cuda`` or ``torch.xpu``; None for a CPU."""
    return None if device.type == "cpu" else getattr(torch, device.type, None)


@dataclass(frozen=True)
class OutOfMemory:
    """A try that memory did not suffice for.

    Args:
        reason: first line of the error.
    """

    reason: str


def attempt(compute: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | OutOfMemory:
    """The value of ``compute(*args, **kwargs)``, or that memory ran out; nothing of the try is then held."""
    try:
        return compute(*args, **kwargs)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)
        return OutOfMemory(_first_line(error))


@contextmanager
def device_memory_guard(device: torch.device, setting: str, what: str = "A step") -> Iterator[None]:
    """Turn an out-of-memory error of the device into a :class:`DeviceMemoryError`.

    Args:
        device: where the block computes.
        setting: what decides how much memory it needs, for the message.
        what: the block, for the message.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        # the frames of the failed step hold its tensors for as long as anyone holds the error
        traceback.clear_frames(error.__traceback__)
        free_memory(device)
        raise device_memory_error(device, what, setting, _first_line(error)) from error


def device_memory_error(
    device: torch.device,
    what: str,
    setting: str,
    reason: str,
    advice: str = "lower batch_size or max_length",
) -> DeviceMemoryError:
    """The error of a computation that memory does not suffice for, with the peak so far.

    Args:
        device: where it was.
        what: the computation.
        setting: what decides how much memory it needs.
        reason: what the device said.
        advice: the next step.
    """
    return DeviceMemoryError(
        f"{what} must fit into the memory of {device}, got {setting} with a peak of "
        f"{peak_memory_mb(device):.0f} MiB ({reason}); {advice}"
    )


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
