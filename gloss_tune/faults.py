"""What a device's error means, told without torch: too little memory, or a device that is lost for this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gloss_tune.errors import DeviceFullError, DeviceLostError

# What torch and the libraries below it say where memory runs short; oneDNN, which computes bfloat16 on a CPU,
# says no more than what it could not make.
_SHORTAGES = (
    "can't allocate memory",
    "out of memory",
    "_status_alloc_failed",
    "could not create a primitive",
    "could not create a memory",
)
_NO_SHORTAGES = ("could not create a primitive descriptor",)  # an operation that it does not have
# CUDA repeats such an error for whatever comes next in the process; ROCm's and XPU's runtimes say it in these words
_LOSSES = (
    "cuda error",
    "hip error",
    "cublas_status",
    "cudnn_status",
    "cufft_",
    "cusolver_status",
    "cusparse_status",
    "rocblas_status",
    "hipblas_status",
    "ur_result_error_device_lost",
    "nvml_",
    "nccl error",
    "device lost",
)


# a device that there is not, and one that this build of torch has no code for: a fresh process would say the same
_NO_LOSSES = ("invalid device ordinal", "no kernel image")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, NumPy's or torch's, on any device."""
    if isinstance(error, MemoryError) or _is_torchs(error, "OutOfMemoryError"):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        any(shortage in text for shortage in _SHORTAGES) and not any(other in text for other in _NO_SHORTAGES)
    )


def is_device_lost(error: BaseException) -> bool:
    """Whether an error says that a device computes nothing more for this process, whatever the work is.

    It is the machine's, not the work's: in a fresh process, or elsewhere, the same work may well go through.
    """
    if is_out_of_memory(error) or not isinstance(error, RuntimeError):
        return False
    text = str(error).lower()
    if any(other in text for other in _NO_LOSSES):
        return False
    return _is_torchs(error, "AcceleratorError") or any(loss in text for loss in _LOSSES)


@contextmanager
def lost_device_told() -> Iterator[None]:
    """Turn a lost device's error, whatever its words, into a :class:`DeviceLostError`."""
    try:
        yield
    except RuntimeError as error:
        if not is_device_lost(error):
            raise
        raise DeviceLostError(
            f"The device must go on computing for this process, got {_first_line(error)}; what was not finished is to "
            "be done again. Start this command anew, as launch does with its workers by itself"
        ) from error


@contextmanager
def full_device_told(device: str) -> Iterator[None]:
    """Turn a shortage of memory while an encoder is loaded into a :class:`DeviceFullError`.

    Args:
        device: its name.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceFullError(
            f"The encoder must fit into the free memory of {device}, got {_first_line(error)}; nothing was begun. "
            "Wait for other processes to end, or choose another --device"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _is_torchs(error: BaseException, name: str) -> bool:
    return any(kind.__name__ == name and kind.__module__.startswith("torch") for kind in type(error).__mro__)
