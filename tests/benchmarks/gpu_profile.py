"""Where the time of a training step goes, seen from outside: hooks and torch's profiler, nothing of the loop's inside.

Hooks on the encoder's transformer, on the gradient that comes back to its output, and the loop's ``on_step`` cut a step
into phases. A kernel belongs to the phase in which the host launched it, which the trace tells by the correlation of
launch and kernel; so a phase's kernels count for it even where they run later. Tracing slows the host down but not the
kernels, therefore the idle time is that of an epoch without tracing, less the traced kernels.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from gloss_tune.finetune import FinetuneConfig

if TYPE_CHECKING:
    from gloss_tune.finetune.session import Session

BATCH, FORWARD, LOSS, BACKWARD, OPTIMIZER = PHASES = (
    "batch and transfer",
    "encoder forward",
    "pooling and loss both ways",
    "encoder backward",
    "clipping and optimizer",
)
_END = "end"
_PREFIX = "phase: "
_ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
_LAUNCHES = ("cuda_runtime", "cuda_driver")
_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
_WAIT_WARNING = "called a synchronizing CUDA operation"

_WAITS_EPOCH, _TRACED_EPOCH, _PLAIN_EPOCH = 2, 3, 4  # the first warms up


@dataclass(frozen=True)
class Trace:
    """What a trace of some steps says; seconds are those of all of these steps together.

    Args:
        host: seconds of the host in each phase, tracing included.
        device: seconds of the kernels that each phase launched.
        busy: seconds in which the device did anything.
        kernels: how many.
        waits: calls by which the host waited for the device.
    """

    host: Mapping[str, float]
    device: Mapping[str, float]
    busy: float
    kernels: int
    waits: int


@dataclass(frozen=True)
class StepProfile:
    """A training step's time.

    Args:
        trace: of ``traced_steps`` steps.
        traced_steps: how many.
        seconds: of one step without tracing.
        waits: host's waits for the device in ``watched_steps`` steps of one epoch; None on a CPU.
        watched_steps: all of an epoch but the first.
        places: where these waits were, with how many.
    """

    trace: Trace
    traced_steps: int
    seconds: float
    waits: int | None
    watched_steps: int
    places: Mapping[str, int]


def profile_step(session: Session, config: FinetuneConfig, traced_steps: int, device: str) -> StepProfile:
    """Train four epochs: to warm up, to count waits, to trace a few steps, and to take the time undisturbed.

    Args:
        session: whose training split has more than ``traced_steps`` batches.
        config: of the run; its epochs and patience are set here.
        traced_steps: at least 1.
        device: that of the session.
    """
    config = replace(config, epochs=_PLAIN_EPOCH, patience=_PLAIN_EPOCH)
    documents = len(session.tokens("train", config.max_length))
    steps = -(-documents // config.batch_size)
    if traced_steps >= steps:
        raise ValueError(f"traced_steps must be below the steps of an epoch ({steps}), got {traced_steps}")
    on_cuda = torch.device(device).type == "cuda"
    watch = _Watch(steps, traced_steps, on_cuda)
    run = session.run(config, watch.on_step)
    transformer = getattr(run.encoder.model[0], "auto_model", run.encoder.model[0])
    seconds = 0.0
    with _marking(transformer), watch.recording():
        for report in run.epochs():
            seconds = report.metrics["train_seconds"] / steps
            watch.next_epoch()
    if watch.trace is None:
        raise RuntimeError("no step was traced, since the loop has not called on_step after each one")
    return StepProfile(
        trace=watch.trace,
        traced_steps=traced_steps,
        seconds=seconds,
        waits=sum(watch.places.values()) if on_cuda else None,
        watched_steps=steps - 1,
        places=watch.places,
    )


@dataclass
class _Watch:
    """Called after every step: knows the epoch, counts waits in one and traces steps of another."""

    steps: int
    traced_steps: int
    on_cuda: bool
    epoch: int = 1
    step: int = 0
    trace: Trace | None = None
    places: Counter[str] = field(default_factory=Counter)
    _profiler: profile | None = None

    def on_step(self) -> None:
        self.step += 1
        if self.epoch == _WAITS_EPOCH and self.on_cuda:
            if self.step == 1:
                torch.cuda.set_sync_debug_mode("warn")
            elif self.step == self.steps:
                torch.cuda.set_sync_debug_mode("default")
        if self.epoch == _TRACED_EPOCH:
            if self.step == 1:
                self._start()
            elif self._profiler is not None:
                self._go_on()

    def next_epoch(self) -> None:
        self.epoch += 1
        self.step = 0

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Collect the warnings that waits give meanwhile."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield
            finally:
                if self.on_cuda:
                    torch.cuda.set_sync_debug_mode("default")
                for warning in caught:
                    if _WAIT_WARNING in str(warning.message):
                        self.places[f"{Path(warning.filename).name}:{warning.lineno}"] += 1

    def _start(self) -> None:
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.on_cuda else [])]
        self._profiler = profile(activities=activities)
        self._profiler.start()
        self._wait()
        _mark(BATCH)

    def _go_on(self) -> None:
        assert self._profiler is not None
        if self.step <= self.traced_steps:
            _mark(BATCH)
            return
        _mark(_END)
        self._wait()
        self._profiler.stop()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            self._profiler.export_chrome_trace(str(path))
            self.trace = read_trace(json.loads(path.read_text(encoding="utf-8"))["traceEvents"])
        self._profiler = None

    def _wait(self) -> None:
        if self.on_cuda:
            torch.cuda.synchronize()


def _mark(phase: str) -> None:
    """The host enters a phase."""
    with record_function(_PREFIX + phase):
        pass


@contextmanager
def _marking(transformer: nn.Module) -> Iterator[None]:
    """Mark the phases between a batch's start and the end of its optimizer's step, for as long as the block lasts."""

    def before(module: nn.Module, inputs: object) -> None:
        _mark(FORWARD)

    def after(module: nn.Module, inputs: object, output: Any) -> None:
        _mark(LOSS)
        states = output["token_embeddings"] if "token_embeddings" in output else output["last_hidden_state"]
        if states.requires_grad:
            states.register_hook(arrived)

    def arrived(gradient: torch.Tensor) -> None:
        _mark(BACKWARD)
        # the one way to learn that a backward pass is over; torch's own data-parallel wrappers use it
        torch.autograd.Variable._execution_engine.queue_callback(lambda: _mark(OPTIMIZER))

    handles = [transformer.register_forward_pre_hook(before), transformer.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def read_trace(events: Sequence[Mapping[str, Any]]) -> Trace:
    """Phases from the events of a Chrome trace that torch's profiler has written.

    Args:
        events: those with marks of phases among them, the last of which marks the end; times in microseconds.

    Raises:
        ValueError: no marks.
    """
    marks = sorted(
        (float(event["ts"]), event["name"][len(_PREFIX) :])
        for event in events
        if event.get("cat") == "user_annotation" and event["name"].startswith(_PREFIX)
    )
    if len(marks) < 2:
        raise ValueError(f"a trace must have marks of phases, got {len(marks)}")
    times = [time for time, _ in marks]
    host: Counter[str] = Counter()
    for (start, phase), (end, _) in pairwise(marks):
        host[phase] += (end - start) / 1e6
    launches = {
        event["args"]["correlation"]: float(event["ts"])
        for event in events
        if event.get("cat") in _LAUNCHES and "correlation" in event.get("args", {})
    }
    device: Counter[str] = Counter()
    intervals = []
    for event in events:
        if event.get("cat") not in _ON_DEVICE:
            continue
        launched = launches.get(event["args"].get("correlation"), float(event["ts"]))
        if times[0] <= launched < times[-1]:
            device[marks[bisect_right(times, launched) - 1][1]] += float(event["dur"]) / 1e6
            intervals.append((float(event["ts"]), float(event["ts"]) + float(event["dur"])))
    waits = sum(
        1
        for event in events
        if event.get("cat") in _LAUNCHES
        and event["name"] in _WAITS
        and times[0] <= float(event["ts"]) < times[-1]
    )
    return Trace(dict(host), dict(device), _covered(intervals) / 1e6, len(intervals), waits)


def _covered(intervals: Sequence[tuple[float, float]]) -> float:
    """Length of the union."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total
