"""What a step costs a card's host, measured without a card: tiny tensors on a CPU, attention kernels that do nothing.

A card computes while the host sends it the next operation; where the host is slower, the card waits. How long the host
takes depends on how many calls it makes, hardly on how large the tensors are, so that it can be told anywhere: before
(torch's jagged tensors) and now (its kernels, called by themselves).
"""

from __future__ import annotations

import itertools
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.nested._internal import sdpa
from torch.nn.attention import SDPBackend

from gloss_tune.encoder import attention, kernels, resolve_encoder
from gloss_tune.encoder.layout import Layout
from gloss_tune.finetune import FinetuneConfig
from gloss_tune.finetune.session import Session
from tests.benchmarks.synthetic import Lengths, Shape, synthetic_dataset, whole_words, write_encoder

WAYS = {"jagged tensors": kernels.jagged, "its kernels by themselves": kernels.flash}
_CPU = torch.device("cpu")
_SHORT = Lengths("short", 2.0, 0.3, 16)


@dataclass(frozen=True)
class HostTimes:
    """Milliseconds, one figure a repetition.

    Args:
        forward: of one layer's attention.
        backward: of the same.
        step: of a whole training step.
    """

    forward: list[float]
    backward: list[float]
    step: list[float]


@contextmanager
def idle_kernels() -> Iterator[None]:
    """Until the block ends, a CPU has the kernels of a card, which compute nothing."""
    library = torch.library.Library("aten", "IMPL")

    def forward(query: Tensor, *_: object, **__: object) -> tuple[Tensor, ...]:
        numbers = (query.new_zeros((), dtype=torch.int64) for _ in range(3))
        return query.new_zeros(query.shape), query.new_zeros(query.shape[1], query.shape[0]), *numbers

    def backward(_: Tensor, *tensors: Tensor, **__: object) -> tuple[Tensor, ...]:
        return tuple(tensor.new_zeros(tensor.shape) for tensor in tensors[:3])

    library.impl("_flash_attention_forward", forward, "CPU")
    library.impl("_flash_attention_backward", backward, "CPU")
    try:
        with mock.patch.object(sdpa, "_select_sdp_backend", return_value=SDPBackend.FLASH_ATTENTION):
            yield
    finally:
        library._destroy()


def host_times(way: str, layers: int, folder: Path, repetitions: int = 30) -> HostTimes:
    """Of one way to call attention.

    Args:
        way: one of :data:`WAYS`.
        layers: of the encoder.
        folder: for the encoder.
        repetitions: of each measurement.
    """
    with warnings.catch_warnings(), idle_kernels():
        warnings.filterwarnings("ignore", message="The PyTorch API of nested tensors")
        forward, backward = _attention(WAYS[way], repetitions)
        return HostTimes(forward, backward, _steps(WAYS[way], layers, folder, repetitions))


def _attention(kernel: kernels.Kernel, repetitions: int) -> tuple[list[float], list[float]]:
    layout = Layout(np.array([9, 8, 8, 7]), _CPU)
    tensors = [torch.randn(1, 2, 32, 16, requires_grad=True) for _ in range(3)]
    forward, backward = [], []
    with mock.patch.object(kernels, "kernel_for", return_value=kernel):
        for _ in range(repetitions + 3):
            output, seconds = _timed(lambda: kernels.attend(*tensors, layout, 0.25, 0.1))
            forward.append(seconds * 1e3)
            backward.append(_timed(lambda output=output: output.backward(torch.ones_like(output)))[1] * 1e3)
    return forward[3:], backward[3:]


def _steps(kernel: kernels.Kernel, layers: int, folder: Path, repetitions: int) -> list[float]:
    encoder = write_encoder(folder / f"{layers} layers", Shape(layers, 32, 2, vocabulary=300, positions=128))
    data = synthetic_dataset(whole_words(encoder), _SHORT, 8 * (repetitions + 3), 8)
    session = Session(data, resolve_encoder(str(encoder)), "cpu", 16)
    config = FinetuneConfig(epochs=1, batch_size=8, max_length=16, precision="float32", learning_rate=1e-5)
    marks: list[float] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run = session.run(config, lambda: marks.append(time.perf_counter()))
        with (
            mock.patch.object(attention, "attend_in_runs", kernels.attend),
            mock.patch.object(kernels, "kernel_for", return_value=kernel),
        ):
            next(run.epochs())
    finally:
        torch.set_num_threads(threads)
    return [1e3 * (b - a) for a, b in itertools.pairwise(marks)][2 : repetitions + 2]


def _timed(compute: Callable[[], Tensor]) -> tuple[Tensor, float]:
    start = time.perf_counter()
    result = compute()
    return result, time.perf_counter() - start


def main() -> None:
    """``python -m tests.benchmarks.gpu_host``: a line for each way and number of layers."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for layers in (6, 12):
            for way in WAYS:
                times = host_times(way, layers, Path(folder))
                print(
                    f"{layers:2} layers, {way}: attention {statistics.median(times.forward):.2f} + "
                    f"{statistics.median(times.backward):.2f} ms a layer, step {statistics.median(times.step):.1f} ms"
                )


if __name__ == "__main__":
    main()
