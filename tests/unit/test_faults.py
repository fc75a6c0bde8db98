"""What a device's error means: a shortage, a lost device, or a fault of the work itself."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from gloss_tune.faults import is_device_lost, is_out_of_memory

# torch's from 2.6 on; before, the same texts come as plain RuntimeErrors
AcceleratorError = getattr(torch, "AcceleratorError", RuntimeError)


@pytest.mark.parametrize(
    ("error", "shortage", "lost"),
    [
        (MemoryError(), True, False),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True, False),
        (RuntimeError("CUDA error: out of memory"), True, False),
        (AcceleratorError("CUDA error: out of memory"), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True, False),
        (AcceleratorError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("CUDA error: device-side assert triggered"), False, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(…)`"), False, True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), False, True),
        (RuntimeError("HIP error: unspecified launch failure"), False, True),
        (RuntimeError("NCCL Error 1: unhandled cuda error"), False, True),
        (AcceleratorError("CUDA error: invalid device ordinal"), False, False),
        (AcceleratorError("CUDA error: no kernel image is available for execution on the device"), False, False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False, False),
        (ValueError("CUDA error: illegal memory access"), False, False),
        (KeyError("x"), False, False),
    ],
)  # fmt: skip
def test_an_error_says_whose_it_is(error: Exception, shortage: bool, lost: bool) -> None:
    assert (is_out_of_memory(error), is_device_lost(error)) == (shortage, lost)


def test_it_is_told_without_torch() -> None:
    program = "import sys; import gloss_tune.faults; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
