"""Which precision it is, given what was measured; and what a run does with it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gloss_tune.encoder import Encoder
from gloss_tune.finetune import FinetuneConfig
from gloss_tune.finetune.loop import Finetune
from gloss_tune.finetune.precision import autocast, choose, computes_in, fastest
from tests.unit.finetune.tiny import documents

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("speeds", "precision"),
    [
        # two threads of an Intel machine with avx512_bf16 and without AMX; the same with AMX; an AMD machine
        ({"float32": 261.0, "bfloat16": 148.0, "float16": 279.0}, "float32"),
        ({"float32": 150.0, "bfloat16": 552.0, "float16": 143.0}, "bfloat16"),
        ({"float32": 100.0, "bfloat16": 185.0}, "bfloat16"),
        ({"float32": 100.0, "bfloat16": 104.0}, "float32"),  # as good as equal: the exact one
        ({"float32": 100.0, "bfloat16": 106.0}, "bfloat16"),
        ({"float32": 100.0}, "float32"),
        ({"bfloat16": 100.0}, "bfloat16"),
        ({}, "float32"),
    ],
)
def test_the_fastest_as_measured(speeds: dict[str, float], precision: str) -> None:
    chosen = fastest(speeds)
    assert chosen.precision == precision
    assert chosen.speeds == speeds
    for name, speed in speeds.items():
        assert f"{name} {speed:.0f}" in chosen.reason


def test_a_wish_is_not_measured(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "gloss_tune.finetune.precision.product_speeds", lambda encoder: pytest.fail("measured")
    )
    for precision in ("float32", "bfloat16"):
        assert choose(precision, encoder).precision == precision


def test_flags_of_the_processor_decide_nothing(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    slow = {"float32": 130.0, "bfloat16": 80.0}
    monkeypatch.setattr("gloss_tune.finetune.precision.product_speeds", lambda encoder: slow)
    assert choose("auto", encoder).precision == "float32"


def test_autocast_computes_in_what_it_is_told() -> None:
    ones = torch.ones(2, 2)
    for name in ("float32", "bfloat16"):
        with autocast(name, CPU):
            assert (ones @ ones).dtype == getattr(torch, name)
        assert computes_in(name, CPU)


CONFIG = FinetuneConfig(epochs=2, batch_size=16, max_length=16, learning_rate=3e-3)


def run(encoder: Encoder, precision: str | None = None, **changes: object) -> Finetune:
    config = dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
    return Finetune(config, documents(48, 3, 0), documents(24, 3, 1), 3, encoder, precision=precision)


def test_a_run_that_goes_on_elsewhere_keeps_what_it_began_with(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = {"float32": 1.0, "bfloat16": 3.0}, {"float32": 3.0, "bfloat16": 1.0}
    monkeypatch.setattr("gloss_tune.finetune.precision.product_speeds", lambda encoder: here)
    whole = run(encoder)
    reports = [report.metrics["val_loss"] for report in whole.epochs()]
    assert whole.precision == "bfloat16"
    begun = run(encoder)
    next(begun.epochs())
    state = begun.state_dict()
    monkeypatch.setattr("gloss_tune.finetune.precision.product_speeds", lambda encoder: there)
    resumed = run(encoder)
    assert resumed.precision == "float32"
    resumed.load_state_dict(state)
    assert resumed.precision == "bfloat16"
    assert [report.metrics["val_loss"] for report in resumed.epochs()] == reports[1:]


def test_a_state_of_before_precisions_were_kept_goes_on_in_the_run_s_own(encoder: Encoder) -> None:
    begun = run(encoder, precision="float32")
    next(begun.epochs())
    state = begun.state_dict()
    del state["precision"]
    resumed = run(encoder, precision="float32")
    resumed.load_state_dict(state)
    assert resumed.precision == "float32"


def test_what_was_settled_elsewhere_prevails(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "gloss_tune.finetune.precision.product_speeds", lambda encoder: pytest.fail("measured")
    )
    assert run(encoder, precision="bfloat16").precision == "bfloat16"


def test_an_encoder_that_computes_in_float32_alone_is_not_measured(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gloss_tune.finetune.precision.product_speeds", lambda encoder: pytest.fail("measured")
    )
    monkeypatch.setattr(encoder, "choice", dataclasses.replace(encoder.choice, bfloat16=False))
    for precision in ("auto", "bfloat16", "float32"):
        assert choose(precision, encoder).precision == "float32"
