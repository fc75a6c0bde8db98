"""Tasks side by side: their order, their modes, their errors, and what is left of them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from gloss_tune.encoder import Encoder
from gloss_tune.finetune.chunking import ChunkLimit
from gloss_tune.finetune.threads import InTurn, Runner, SideBySide, runner_for


@pytest.fixture
def cores() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(params=["in turn", "side by side"])
def runner(request: pytest.FixtureRequest, cores: Callable[[int], None]) -> Runner:
    cores(2)
    return InTurn() if request.param == "in turn" else SideBySide(2)


def test_results_come_in_the_order_of_the_tasks(runner: Runner) -> None:
    def slow(number: int) -> int:
        time.sleep(0.02 * (number == 0))
        return number

    assert runner.run([lambda number=number: slow(number) for number in range(7)]) == list(range(7))
    assert runner.run([]) == []


def test_tasks_compute_in_the_caller_s_modes(runner: Runner) -> None:
    weight = torch.ones(2, 2, requires_grad=True)

    def product() -> torch.Tensor:
        return weight @ weight

    plain, _ = runner.run([product, product])
    assert plain.dtype == torch.float32
    assert plain.requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        assert [out.dtype for out in runner.run([product, product])] == [torch.bfloat16] * 2
    with torch.no_grad():
        assert not any(out.requires_grad for out in runner.run([product, product]))
    with torch.inference_mode():
        assert all(out.is_inference() for out in runner.run([product, product]))


def test_an_error_is_the_caller_s_after_all_tasks_have_ended(runner: Runner) -> None:
    running = threading.Event()
    ended = []

    def slow() -> None:
        running.set()
        time.sleep(0.1)
        ended.append("slow")

    def failing() -> None:
        running.wait()
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        runner.run([slow, failing, *[lambda: time.sleep(0.01)] * 50])
    assert ended == ["slow"]
    assert runner.run([lambda: 1]) == [1], "and it goes on"


@pytest.mark.parametrize(("given", "each"), [(2, 1), (4, 2), (5, 2)])
def test_two_threads_share_the_cores(cores: Callable[[int], None], given: int, each: int) -> None:
    cores(given)
    runner = SideBySide(given)
    assert torch.get_num_threads() == given, "the caller's stay"

    def facts() -> tuple[int, int]:
        time.sleep(0.02)
        return threading.get_ident(), torch.get_num_threads()

    found = runner.run([facts] * 4)
    assert [threads for _, threads in found] == [each] * 4
    idents = [ident for ident, _ in found]
    assert idents[0] == idents[2] != idents[1] == idents[3], "a task's number decides its thread"


def test_encoders_and_cores_that_allow_it_go_side_by_side(
    encoder: Encoder, cores: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = ChunkLimit(encoder)
    for count, several in ((1, False), (2, True), (3, False), (4, True)):
        cores(count)
        assert (runner_for(encoder, limit).count == 2) is several
    assert runner_for(encoder, limit) is runner_for(encoder, limit), "threads are kept"
    limit.lowered = 100
    assert runner_for(encoder, limit).count == 1, "where memory ran short"
    limit.lowered = None
    monkeypatch.setattr(Encoder, "concurrent", False)
    assert runner_for(encoder, limit).count == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_threads_of_its_own(encoder: Encoder, cores: Callable[[int], None]) -> None:
    cores(2)
    limit = ChunkLimit(encoder)
    assert runner_for(encoder, limit).run([lambda: 1, lambda: 2]) == [1, 2]
    child = os.fork()
    if child == 0:
        os._exit(0 if runner_for(encoder, limit).run([lambda: 3]) == [3] else 1)
    deadline = time.monotonic() + 30
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    if ended[0] == 0:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert ended == (child, 0)
