"""Which card a worker takes, and cards named by their UUIDs; no card is needed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from gloss_tune.errors import DeviceLostError, DeviceSilentError, InputError
from gloss_tune.finetune import cards
from gloss_tune.finetune.cards import free_on_cards, freest_card, is_uuid, see_only
from gloss_tune.finetune.device import pick_device

WHOLE = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
SLICE = "MIG-3f0a2e4c-6d4b-5f0f-9d1c-0c8a2f6e7b1d"
OLD_SLICE = "MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/7/0"
# a torch for the process that is asked: its visible card decides what is free
FAKE = """
import os
class cuda:
    @staticmethod
    def mem_get_info(name):
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return {"GPU-aa": 11, "MIG-bb": 22}.get(seen, 100 + int(name[-1])), 0
"""


@pytest.fixture(autouse=True)
def visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in (WHOLE, SLICE, OLD_SLICE)),
        *((name, False) for name in ("cuda:0", "GPU-", "gpu-1", "cpu")),
    ],
)
def test_what_is_a_cards_own_name(name: str, expected: bool) -> None:
    assert is_uuid(name) is expected


@pytest.mark.parametrize(
    ("busy", "free", "chosen"),
    [
        ([], {"cuda:0": 1, "cuda:1": 3, "cuda:2": 2}, "cuda:1"),
        (["cuda:1"], {"cuda:0": 1, "cuda:2": 2}, "cuda:2"),
        (["cuda:0", "cuda:1", "cuda:1"], {}, "cuda:2"),
        (["cuda:0", "cuda:1", "cuda:2", "cpu", "cuda:9"], {"cuda:0": 5, "cuda:1": 3, "cuda:2": 2}, "cuda:0"),
    ],
)
def test_a_worker_takes_the_card_with_the_fewest_workers_and_of_those_the_freest(
    busy: list[str], free: dict[str, int], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(names: list[str]) -> dict[str, int]:
        assert names == list(free)  # nobody is asked where there is no choice
        return free

    monkeypatch.setattr(cards, "free_on_cards", measured)
    assert freest_card(3, busy) == chosen


def test_a_driver_that_does_not_tell_leaves_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(names: list[str]) -> dict[str, int]:
        raise DeviceSilentError("no answer")

    monkeypatch.setattr(cards, "free_on_cards", silent)
    assert freest_card(2, []) == "cuda:0"


def test_auto_asks_who_works_here_only_where_it_has_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device("auto", lambda: pytest.fail("no choice")) == "cuda:0"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto", lambda: ["cuda:0"]) == "cuda:1"


def test_each_card_is_asked_under_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    names = ["cuda:1", "GPU-aa", "cuda:0", "MIG-bb"]
    assert free_on_cards(names) == {"cuda:1": 101, "cuda:0": 100, "GPU-aa": 11, "MIG-bb": 22}


def test_a_uuid_becomes_the_only_card_that_a_process_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    assert see_only(SLICE) == "cuda:0"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == SLICE
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert see_only(SLICE) == "cuda:0"  # again
    with pytest.raises(InputError, match=rf"got {WHOLE} after another one"):
        see_only(WHOLE)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == SLICE
    monkeypatch.delitem(sys.modules, "torch")
    assert see_only(WHOLE) == "cuda:0"


def test_a_uuid_without_a_card_is_refused_by_its_name() -> None:
    if torch.cuda.is_available():
        pytest.skip("here is a card")
    with pytest.raises(
        InputError, match=rf"'{WHOLE}' cannot be used .*choose auto, cpu, cuda:N or a card's UUID"
    ):
        pick_device(WHOLE)


def test_a_full_card_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the encoder fits is found out before a trial is claimed, and said then."""

    def full(*_: object, **__: object) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")

    monkeypatch.setattr(torch, "ones", full)
    assert pick_device("cuda:0") == "cuda:0"


def test_an_xpu_is_found_and_apples_gpu_only_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class accelerator:
        kind = "xpu"

        @staticmethod
        def is_available() -> bool:
            return True

        @classmethod
        def current_accelerator(cls) -> torch.device:
            return torch.device(cls.kind)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "accelerator", accelerator, raising=False)
    assert pick_device("auto") == "xpu:0"
    accelerator.kind = "mps"
    assert pick_device("auto") == "cpu"
    monkeypatch.delattr(torch, "accelerator")
    assert pick_device("auto") == "cpu"


def test_a_dead_card_is_the_machines_trouble_and_a_missing_one_the_users(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a group, wrong input ends all workers; a worker whose card is dead is only started again."""

    def fails(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError(said)

    monkeypatch.setattr(torch, "ones", fails)
    said = "CUDA error: CUDA-capable device(s) is/are busy or unavailable"
    with pytest.raises(DeviceLostError, match="busy or unavailable"):
        pick_device("cuda:0")
    said = "CUDA error: invalid device ordinal"
    with pytest.raises(InputError, match="'cuda:7' cannot be used"):
        pick_device("cuda:7")
