"""How speeds are measured, and what is kept of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from gloss_tune.encoder import Encoder
from gloss_tune.finetune import speeds
from gloss_tune.finetune.speeds import linear_shapes, measure, product_speeds
from gloss_tune.finetune.threads import InTurn

SHAPES = {(32, 64): 2, (64, 32): 1}
Seconds = Callable[[str, tuple[int, int], int, object], float]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLOSS_TUNE_CACHE", str(tmp_path))
    monkeypatch.setattr(speeds, "_known", {})
    monkeypatch.setattr(speeds, "_was_quiet", lambda before, threads: True)
    return tmp_path / "speeds"


def timed(monkeypatch: pytest.MonkeyPatch, seconds: Seconds) -> list[str]:
    """Let products take so long; returns what is timed, in its order."""
    told: list[str] = []

    def take(name: str, shape: tuple[int, int], tokens: int, runner: object) -> float:
        told.append(name)
        return seconds(name, shape, tokens, runner)

    monkeypatch.setattr(speeds, "_seconds", take)
    return told


def by_precision(**rates: float) -> Seconds:
    """So many GFLOP/s at any size."""
    return lambda name, shape, tokens, runner: 6.0 * shape[0] * shape[1] * tokens / rates[name] / 1e9


def test_speeds_are_those_of_the_products_weighted_by_how_often_they_occur(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed(monkeypatch, by_precision(float32=100.0, bfloat16=150.0, float16=140.0))
    assert measure(SHAPES, InTurn(), 1) == ({"float32": 100.0, "bfloat16": 150.0, "float16": 140.0}, True)


def test_each_is_timed_by_turns_and_its_fastest_turn_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(10_000))
    steady = by_precision(float32=100.0, bfloat16=80.0, float16=90.0)
    # something disturbs every fourth product
    told = timed(monkeypatch, lambda *args: steady(*args) * (1 + 4 * (next(calls) % 4 == 0)))
    found, _ = measure({(32, 64): 1}, InTurn(), 1)
    assert found == {"float32": 100.0, "bfloat16": 80.0, "float16": 90.0}
    turn = told[6:]  # after the first look
    assert turn[:6] == ["float32", "bfloat16", "float16"] * 2


def test_what_is_only_imitated_is_left_after_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    told = timed(monkeypatch, by_precision(float32=100.0, bfloat16=50.0, float16=2.0))
    found, _ = measure(SHAPES, InTurn(), 1)
    assert found.keys() == {"float32", "bfloat16"}
    assert told.count("float16") == 2
    assert told.count("bfloat16") < told.count("float32"), "beaten in the first turn that counts"


def test_a_precision_that_the_build_lacks_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(name: str, *rest: object) -> float:
        if name == "float16":
            raise RuntimeError("not implemented for 'Half'")
        return 1.0

    timed(monkeypatch, lacking)
    assert measure(SHAPES, InTurn(), 1)[0].keys() == {"float32", "bfloat16"}


def test_on_a_busy_machine_it_is_measured_again_and_not_kept(
    monkeypatch: pytest.MonkeyPatch, encoder: Encoder, cache: Path
) -> None:
    answers = [False, False]
    told = timed(monkeypatch, by_precision(float32=100.0, bfloat16=120.0, float16=110.0))
    monkeypatch.setattr(speeds, "_was_quiet", lambda before, threads: answers.pop())
    assert product_speeds(encoder)["bfloat16"] == 120.0
    assert not answers, "two rounds"
    assert not cache.exists()
    once = len(told)
    product_speeds(encoder)
    assert len(told) == once, "but this process remembers"


def test_figures_are_kept_for_machine_torch_threads_and_widths(
    monkeypatch: pytest.MonkeyPatch, encoder: Encoder, cache: Path
) -> None:
    told = timed(monkeypatch, by_precision(float32=100.0, bfloat16=120.0, float16=110.0))
    found = product_speeds(encoder)
    (path,) = cache.iterdir()
    stored = json.loads(path.read_text())
    assert stored["speeds"] == found
    assert stored["torch"] == torch.__version__
    assert stored["threads"] == torch.get_num_threads()
    assert stored["shapes"]
    monkeypatch.setattr(speeds, "_known", {})  # another process
    once = len(told)
    assert product_speeds(encoder) == found
    assert len(told) == once
    for change in ("ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS"):
        monkeypatch.setenv(change, "AVX2")
        product_speeds(encoder)
    assert len(list(cache.iterdir())) == 3, "what a process may use is part of its machine"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"speeds": {}}', b'{"speeds": {"float32": "fast"}}', b"\xff", b"null"]
)
def test_a_damaged_file_is_measured_again_and_replaced(
    monkeypatch: pytest.MonkeyPatch, encoder: Encoder, cache: Path, content: bytes
) -> None:
    timed(monkeypatch, by_precision(float32=100.0, bfloat16=120.0, float16=110.0))
    found = product_speeds(encoder)
    (path,) = cache.iterdir()
    path.write_bytes(content)
    monkeypatch.setattr(speeds, "_known", {})
    assert product_speeds(encoder) == found
    assert json.loads(path.read_text())["speeds"] == found


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    monkeypatch: pytest.MonkeyPatch, encoder: Encoder, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GLOSS_TUNE_CACHE", str(tmp_path / "file"))
    timed(monkeypatch, by_precision(float32=100.0, bfloat16=120.0, float16=110.0))
    assert product_speeds(encoder)["float32"] == 100.0


def test_the_heaviest_shapes_stand_for_all() -> None:
    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(5)], nn.Linear(4, 16), nn.LayerNorm(16))
    assert linear_shapes(model) == {(4, 4): 5, (16, 4): 1}
    assert linear_shapes(nn.Sequential(nn.LayerNorm(4))) == {(384, 384): 1}
    many = nn.Sequential(*[nn.Linear(size, size) for size in range(1, 9)])
    assert list(linear_shapes(many)) == [(8, 8), (7, 7), (6, 6), (5, 5)]


def test_real_products_are_timed(encoder: Encoder) -> None:
    found, _ = measure({(32, 32): 1}, InTurn(), 1)
    assert found["float32"] > 0
