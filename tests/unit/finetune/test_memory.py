import ctypes
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from gloss_tune.errors import DeviceMemoryError
from gloss_tune.finetune.memory import (
    OutOfMemory,
    attempt,
    device_memory_guard,
    free_bytes,
    free_memory,
    is_out_of_memory,
    peak_memory_mb,
    return_free_memory,
)

CPU = torch.device("cpu")


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")
def test_free_heap_goes_back_to_the_system() -> None:
    blocks = [bytearray(60_000) for _ in range(4000)]  # too small for pages of their own
    for block in blocks:
        block[::4096] = b"x" * len(block[::4096])
    del blocks[:-1]  # the last one holds the end of the heap
    before = resident_mb()
    return_free_memory()
    assert resident_mb() < before - 100


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_is_the_high_water_mark_in_mebibytes() -> None:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    kibibytes = int(status["VmHWM"].split()[0])
    assert peak_memory_mb(CPU) == pytest.approx(kibibytes / 1024, rel=0.02)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems count otherwise")
def test_peak_memory_leaves_out_what_the_starting_process_held() -> None:
    """A process that was spawned keeps the mark of the one that spawned it in ``ru_maxrss``."""
    held = np.ones(600 * 2**20 // 8)  # MiB that the child never has
    script = (
        "import torch; from gloss_tune.finetune.memory import peak_memory_mb; "
        "print(peak_memory_mb(torch.device('cpu')))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert resident_mb() > held.nbytes / 2**20
    assert float(ran.stdout) < held.nbytes / 2**20


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried"
        ),
    ],
)
def test_out_of_memory_becomes_an_error_with_setting_and_next_step(error: RuntimeError) -> None:
    with (
        pytest.raises(DeviceMemoryError, match=r"memory of cpu, got batch_size 9 .*; lower batch_size"),
        device_memory_guard(CPU, "batch_size 9"),
    ):
        raise error


def test_torchs_own_message_is_recognised() -> None:
    with pytest.raises(DeviceMemoryError), device_memory_guard(CPU, "a petabyte"):
        torch.empty(2**50)


def test_numpys_own_message_is_recognised() -> None:
    with pytest.raises(DeviceMemoryError, match="Unable to allocate"), device_memory_guard(CPU, "a petabyte"):
        np.empty(2**50)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("could not create a primitive descriptor for a matmul primitive"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


class Backend:
    """What ``torch.cuda`` and ``torch.xpu`` have."""

    emptied = False

    @staticmethod
    def mem_get_info(device: torch.device) -> tuple[int, int]:
        return 70, 100

    memory_reserved, memory_allocated = (staticmethod(lambda device, n=n: n) for n in (20, 5))
    max_memory_reserved = staticmethod(lambda device: 3 * 2**20)

    @classmethod
    def empty_cache(cls) -> None:
        cls.emptied = True


def test_a_devices_memory_is_what_torch_holds_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("xpu:0")
    monkeypatch.setattr(torch, "xpu", Backend, raising=False)
    assert peak_memory_mb(device) == 3
    assert free_bytes(device) == 70 + 20 - 5
    free_memory(device)
    assert Backend.emptied
    monkeypatch.setattr(torch, "xpu", None)
    assert free_bytes(device) is None
    assert free_bytes(CPU) is None


def test_a_lost_device_is_not_one_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(device: torch.device) -> tuple[int, int]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "mem_get_info", lost)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        free_bytes(torch.device("cuda:0"))


def test_an_attempt_gives_a_value_or_the_shortage_and_holds_nothing() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def compute(size: int) -> int:
        activations = torch.ones(3)
        held.append(weakref.ref(activations))
        return len(torch.empty(size))

    assert attempt(compute, 5) == 5
    shortage = attempt(compute, 2**50)
    assert isinstance(shortage, OutOfMemory)
    assert "can't allocate memory" in shortage.reason
    assert held[1]() is None
    with pytest.raises(RuntimeError, match="negative dimension"):
        attempt(compute, -1)
