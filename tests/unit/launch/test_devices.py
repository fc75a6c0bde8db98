"""Workers take the devices in turn, and nobody counts what need not be counted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gloss_tune.errors import GlossTuneError, InputError
from gloss_tune.launch.devices import cuda_devices, spread


def never() -> int:
    raise AssertionError("counting imports torch")


@pytest.mark.parametrize(
    ("device", "workers", "found", "devices"),
    [
        ("auto", None, 2, ["cuda:0", "cuda:1"]),
        ("auto", 5, 2, ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]),
        ("auto", None, 0, ["cpu"]),
        ("auto", 3, 0, ["cpu"] * 3),
    ],
)
def test_auto_takes_every_cuda_device_or_else_the_cpu(
    device: str, workers: int | None, found: int, devices: list[str]
) -> None:
    assert spread(device, workers, False, lambda: found) == devices


@pytest.mark.parametrize(
    ("device", "workers", "devices"),
    [
        ("cpu", None, ["cpu"]),
        ("cpu", 2, ["cpu", "cpu"]),
        ("cuda:1", None, ["cuda:1"]),
        ("cuda:0,cuda:2", None, ["cuda:0", "cuda:2"]),
        ("cuda:0, cuda:2", 3, ["cuda:0", "cuda:2", "cuda:0"]),
        ("cuda:0,cuda:2", 1, ["cuda:0"]),
        ("auto", 1, ["auto"]),
        ("GPU-8932f937-d72c-4106", 2, ["GPU-8932f937-d72c-4106"] * 2),
        ("MIG-1a, MIG-2b,cuda:3", None, ["MIG-1a", "MIG-2b", "cuda:3"]),
    ],
)
def test_named_devices_and_a_single_worker_need_no_count(
    device: str, workers: int | None, devices: list[str]
) -> None:
    assert spread(device, workers, False, never) == devices


def test_a_rehearsal_has_one_worker_unless_more_are_asked_for() -> None:
    assert spread("auto", None, True, never) == ["auto"]
    assert spread("auto", 3, True, never) == ["auto"] * 3


def test_so_many_on_each_device_take_the_devices_in_turn() -> None:
    assert spread("auto", None, False, lambda: 2, per_device=2) == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert spread("auto", None, False, lambda: 0, per_device=3) == ["cpu"] * 3
    assert spread("cuda:1", None, False, never, per_device=2) == ["cuda:1"] * 2
    assert spread("auto", None, True, never, per_device=2) == ["auto"] * 2


@pytest.mark.parametrize(
    "device", ["", ",", "cuda:0,", "auto,cpu", "cuda:x", "CUDA:0", "cuda:0;cuda:1", "GPU", "GPU-", "mig-1a"]
)
def test_what_names_no_device_is_refused(device: str) -> None:
    with pytest.raises(InputError, match="--device takes"):
        spread(device, None, False, never)


@pytest.mark.parametrize(
    ("torch", "found"), [("print('a word'); cuda.device_count = lambda: 3", 3), ("1 / 0", None)]
)
def test_another_process_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, torch: str, found: int | None
) -> None:
    (tmp_path / "torch.py").write_text(f"class cuda: pass\n{torch}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "torch", None)  # not to be imported here
    if found is None:
        with pytest.raises(GlossTuneError, match=r"ZeroDivisionError.*--device"):
            cuda_devices()
    else:
        assert cuda_devices() == found
