"""A run on a device whose memory is too small: what it does, what it says, and that its result stays."""

from __future__ import annotations

import dataclasses
import gc
import logging
import math
import os
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from gloss_tune.encoder import Encoder
from gloss_tune.errors import DeviceMemoryError, NonFiniteLossError
from gloss_tune.finetune import chunking, gradients
from gloss_tune.finetune.config import TIMING_METRICS, EpochReport, FinetuneConfig
from gloss_tune.finetune.loop import Finetune
from gloss_tune.finetune.threads import _side_by_side
from tests.unit.finetune.budget import live_tensors, memory_for
from tests.unit.finetune.tiny import documents

TRAIN = documents(90, classes=3, seed=1)
VAL = documents(45, classes=3, seed=2)
LONGEST = int(max(TRAIN.lengths.max(), VAL.lengths.max()))
CONFIG = FinetuneConfig(
    epochs=2,
    batch_size=30,
    max_length=16,
    learning_rate=1e-3,
    temperature=0.3,
    lpa_iterations=3,
    precision="float32",
)
CHUNK = 100  # tokens: a batch is about four of these
# Of two threads, each chunk of a step and then of an evaluation may be refused before the first refusal is known.
REFUSALS = {1: 1, 2: 8}


@pytest.fixture(autouse=True, params=[1, 2])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """One chunk after the other, and two at a time."""
    monkeypatch.setitem(chunking._DEFAULT_TOKENS, "cpu", CHUNK)
    before = torch.get_num_threads()
    if request.param == 2:
        _side_by_side(2, os.getpid())
        # what goes in turn beside them stays with one: on busy cores, two that wait for each other take forever
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    torch.set_num_threads(1)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("gloss_tune"), "propagate", True)
    caplog.set_level(logging.WARNING)
    return caplog


def finetune(encoder: Encoder, **changes: object) -> Finetune:
    return Finetune(dataclasses.replace(CONFIG, **changes), TRAIN, VAL, 3, encoder)


def values(report: EpochReport) -> dict[str, float]:
    return {name: value for name, value in report.metrics.items() if name not in TIMING_METRICS}


def reports(run: Finetune) -> list[dict[str, float]]:
    return [values(report) for report in run.epochs()]


@pytest.mark.parametrize("mode", ["integrated", "standalone"])
def test_a_batch_that_does_not_fit_goes_in_chunks_with_the_same_result(
    encoder: Encoder, warnings: pytest.LogCaptureFixture, mode: str, threads: int
) -> None:
    expected = reports(finetune(encoder, mode=mode))
    with memory_for(CHUNK) as memory:
        run = finetune(encoder, mode=mode)
        found = reports(run)
    assert 1 <= memory.refusals <= REFUSALS[threads], "after the first refusal the run must ask for less"
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    record, *of_evaluation = warnings.records
    assert len(of_evaluation) == threads - 1, "two chunks at a time do not fit there either"
    assert record.levelno == logging.WARNING
    for part in ("batch_size 30", "max_length 16", "CUDA out of memory", f"at most {CHUNK} tokens"):
        assert part in record.getMessage()


@pytest.mark.parametrize("limit", [CHUNK - 10, 40, LONGEST])
def test_chunks_are_halved_until_they_fit_and_the_loss_sees_the_whole_batch(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, warnings: pytest.LogCaptureFixture, limit: int
) -> None:
    seen = []
    run = finetune(encoder, epochs=1)
    real = run._loss

    def loss(embeddings: Tensor, labels: Tensor, masks: torch.Generator) -> dict[str, Tensor]:
        seen.append(len(embeddings))
        return real(embeddings, labels, masks)

    loss.names = real.names  # type: ignore[attr-defined]
    monkeypatch.setattr(run, "_loss", loss)
    with memory_for(limit) as memory:
        (report,) = run.epochs()
    assert seen == [30, 30, 30]
    assert LONGEST <= memory.most <= limit
    assert all(math.isfinite(value) for value in report.metrics.values())
    assert len(warnings.records) <= 2, (
        "one line for the step and one for the evaluation, however often halved"
    )


def test_a_retried_step_draws_the_same_dropout_and_masks(encoder: Encoder) -> None:
    """Out of memory late in a step: in the loss, after the mask and all dropout were drawn."""
    expected = reports(finetune(encoder, epochs=1))
    run = finetune(encoder, epochs=1)
    real, calls = run._loss, []

    class Failing:
        names = real.names

        def __call__(self, *arguments: object) -> dict[str, Tensor]:
            calls.append(1)
            parts = real(*arguments)  # type: ignore[arg-type]
            if len(calls) == 2:
                raise RuntimeError(
                    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
                )
            return parts

    run._loss = Failing()  # type: ignore[assignment]
    (found,) = reports(run)
    assert len(calls) == 4
    assert found == pytest.approx(expected[0], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("at", [1, 3, 7])
def test_memory_that_runs_out_in_a_backward_pass_leaves_no_part_of_a_gradient(
    encoder: Encoder, at: int
) -> None:
    expected = reports(finetune(encoder, epochs=1, clip_norm=1e9))
    with memory_for(math.inf) as memory:
        memory.fails_in_backward = at
        (found,) = reports(finetune(encoder, epochs=1, clip_norm=1e9))
    assert memory.refusals == 1
    assert found == pytest.approx(expected[0], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("error", [MemoryError, lambda: RuntimeError("CUDA error: out of memory")])
def test_other_ways_to_say_that_memory_ran_out(
    encoder: Encoder, error: type[Exception], threads: int
) -> None:
    with memory_for(CHUNK, error) as memory:
        assert len(reports(finetune(encoder, epochs=1))) == 1
    assert 1 <= memory.refusals <= REFUSALS[threads]


def test_a_document_that_does_not_fit_by_itself_is_the_end(encoder: Encoder) -> None:
    with memory_for(LONGEST - 1) as memory:
        run = finetune(encoder)
        epochs = run.epochs()
        memory.limit = math.inf
        next(epochs)
        memory.limit = LONGEST - 1
        rule = (
            rf"batch_size 30 and max_length 16, one document of at most {LONGEST} .* peak of \d+ MiB .*lower"
        )
        with pytest.raises(DeviceMemoryError, match=rule):
            next(epochs)
        assert memory.held == 0
    assert not any(p.grad is not None for p in encoder.model.parameters())
    assert not run._optimizer.state
    assert len(reports(finetune(encoder))) == 2


def test_a_loss_that_does_not_fit_is_the_end_at_once(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finetune(encoder)
    calls = []

    class Huge:
        names = run._loss.names

        def __call__(self, *arguments: object) -> dict[str, Tensor]:
            calls.append(1)
            torch.empty(2**50)
            raise AssertionError

    run._loss = Huge()  # type: ignore[assignment]
    with pytest.raises(DeviceMemoryError, match=r"The loss of a batch .* batch_size 30 .*lower batch_size"):
        list(run.epochs())
    assert len(calls) == 2, "once in the plain step, once in the chunked one; smaller chunks mend nothing"


def test_an_optimizer_that_does_not_fit_is_the_end(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    run = finetune(encoder)
    list(run.epochs())
    monkeypatch.setattr(torch.optim.AdamW, "step", full)
    with pytest.raises(DeviceMemoryError, match="batch_size 30"):
        list(finetune(encoder).epochs())
    assert not any(p.grad is not None for p in encoder.model.parameters())


def test_an_evaluation_that_does_not_fit_goes_in_smaller_chunks(
    encoder: Encoder, warnings: pytest.LogCaptureFixture
) -> None:
    run = finetune(encoder)
    list(run.epochs())
    expected = run.evaluate(VAL)
    with memory_for(LONGEST + 5) as memory:
        assert run.evaluate(VAL) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert memory.refusals > 0
    assert ["evaluation" in message for message in warnings.messages] == [True]
    with (
        memory_for(3),
        pytest.raises(DeviceMemoryError, match=r"one document of \d+ tokens .* lower max_length"),
    ):
        run.evaluate(VAL)


def test_a_batch_of_very_many_tokens_is_chunked_before_memory_runs_out(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, warnings: pytest.LogCaptureFixture, threads: int
) -> None:
    with memory_for(math.inf) as memory:
        expected = reports(finetune(encoder))
        assert memory.most > 2 * CHUNK, "a small batch must be held as a whole: that is faster"
    monkeypatch.setitem(gradients._PLAIN_TOKENS, "cpu", 2 * CHUNK)
    with memory_for(math.inf) as memory:
        found = reports(finetune(encoder))
        assert memory.most <= threads * CHUNK
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    assert not warnings.records


def test_a_resumed_run_keeps_the_chunks_that_fitted(
    encoder: Encoder, warnings: pytest.LogCaptureFixture
) -> None:
    with memory_for(math.inf) as memory:
        run = finetune(encoder, epochs=4, patience=4)
        whole = run.epochs()
        expected = [values(next(whole))]
        memory.limit = 50  # another program takes most of the memory
        expected.append(values(next(whole)))
        state = run.state_dict()
        expected.extend(map(values, whole))
        warnings.clear()
        memory.limit = math.inf
        resumed = finetune(encoder, epochs=4, patience=4)
        resumed.load_state_dict(state)
        assert reports(resumed) == expected[2:], "equal to the last bit"
    assert not warnings.records
    del state["chunk_tokens"]  # a checkpoint of an older release
    resumed.load_state_dict(state)
    assert len(reports(resumed)) == 2


def test_another_run_in_the_same_process_starts_with_all_its_memory(encoder: Encoder) -> None:
    expected = reports(finetune(encoder))
    with memory_for(40):
        assert reports(finetune(encoder)) != expected
    assert reports(finetune(encoder)) == expected, "equal to the last bit, whatever ran before"


def test_failed_runs_leave_nothing_in_memory(encoder: Encoder) -> None:
    """Twelve runs, good, out of memory and non-finite by turns: nothing is left for the garbage collector."""

    def one(kind: int) -> None:
        with memory_for(LONGEST - 1 if kind == 1 else CHUNK) as memory:
            try:
                list(finetune(encoder, epochs=1, learning_rate=1e38 if kind == 2 else 1e-3).epochs())
            except (DeviceMemoryError, NonFiniteLossError) as error:
                assert type(error) is (DeviceMemoryError, NonFiniteLossError)[kind - 1]
            else:
                assert kind == 0
            assert memory.held == 0, "activations of a run that is over"

    held = {}
    gc.collect()
    gc.disable()
    try:
        for number in range(12):
            one(number % 3)
            if number in (3, 4, 5, 9, 10, 11):
                held[number] = live_tensors()
    finally:
        gc.enable()
    assert held[9] == held[3], "after a good run"
    assert held[10] == held[4], "after one that was out of memory"
    assert held[11] == held[5], "after one that was not finite"
    assert max(held.values()) == held[3], "a failed run must not leave more than a good one"
