"""How much memory a run took, and what to do when the device has no more."""

from __future__ import annotations

import ctypes
import resource
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gloss_tune.errors import DeviceMemoryError

_MEBIBYTE = 1024 * 1024


def peak_memory_mb(device: torch.device) -> float:
    """Most memory so far: of torch on a GPU since ``reset_peak_memory``, of this process on a CPU, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MEBIBYTE
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MEBIBYTE


def reset_peak_memory(device: torch.device) -> None:
    """Start the count of :func:`peak_memory_mb` again, where the device allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def return_free_memory() -> None:
    """Give the heap's free pages back to the system, where the C library is glibc; elsewhere do nothing.

    Batches of ever other lengths leave gaps: after an epoch on MR, half of a process's memory was free heap.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)


@contextmanager
def device_memory_guard(device: torch.device, setting: str) -> Iterator[None]:
    """Turn an out-of-memory error of the device into a :class:`DeviceMemoryError`.

    Args:
        device: where the block computes.
        setting: what decides how much memory it needs, for the message.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        # the frames of the failed step hold its tensors for as long as anyone holds the error
        traceback.clear_frames(error.__traceback__)
        if device.type == "cuda":
            torch.cuda.empty_cache()
        raise DeviceMemoryError(
            f"A step must fit into the memory of {device}, got {setting} with a peak of "
            f"{peak_memory_mb(device):.0f} MiB ({str(error).splitlines()[0]}); lower batch_size or max_length"
        ) from error


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)
