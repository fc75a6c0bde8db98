"""What ``auto`` chooses against every choice by hand (precision, threads, chunks side by side), in one process.

A machine's speed drifts, and other programs come and go: so each figure of ``auto`` is one of a turn in which every
choice by hand had its own. It chooses right after a minute in which all cores were busy, when an average of the load is
still high.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from gloss_tune.cores import CoreShare, usable_cores
from gloss_tune.encoder import resolve_encoder
from gloss_tune.finetune import FinetuneConfig, embedding, gradients, threads
from gloss_tune.finetune.loop import Finetune
from gloss_tune.finetune.session import Session
from tests.benchmarks.table import Row
from tests.benchmarks.training import BATCH, MAX_LENGTH, MODEL, dataset

_PRECISIONS = ("float32", "bfloat16")
_BUSY_SECONDS = 60
_MOST_TURNS = 9


@dataclass(frozen=True)
class Setting:
    """One choice by hand.

    Args:
        precision: of the encoder.
        threads: of torch.
        side_by_side: whether two chunks go through the encoder at once.
    """

    precision: str
    threads: int
    side_by_side: bool

    def __str__(self) -> str:
        chunks = "two chunks at once" if self.side_by_side else "one chunk at a time"
        return f"{self.precision}, {self.threads} threads, {chunks}"


def rows(quick: bool) -> list[Row]:
    """Documents a second of training on MR (short texts) and R8 (long ones)."""
    _be_busy(1 if quick else _BUSY_SECONDS)
    table = []
    for name, seconds in (("mr", 70.0), ("r8", 100.0)):
        table += _rows_of(name, 64 if quick else BATCH, 0.0 if quick else seconds)
    return table


def settings() -> list[Setting]:
    """All that this machine can be set to by hand."""
    counts = sorted({1, usable_cores()})
    found = []
    for precision, count in itertools.product(_PRECISIONS, counts):
        found.append(Setting(precision, count, False))
        if threads.runner_of(count).count > 1:
            found.append(Setting(precision, count, True))
    return found


def _rows_of(name: str, documents: int, seconds: float) -> list[Row]:
    session = Session(dataset(name, documents), resolve_encoder(MODEL), "cpu", MAX_LENGTH)
    cores = CoreShare("cpu", None)
    chosen = cores.share_cores()
    choice = session.choice("auto")
    auto = Setting(choice.precision, chosen, threads.runner_of(chosen).count > 1)
    print(f"{name}: auto chose {auto}: {choice.reason}", file=sys.stderr)
    by_hand = settings()
    figures: dict[Setting, list[float]] = {setting: [] for setting in by_hand}
    ours: list[float] = []
    _by_itself(session, cores)  # warm-up: tokens, allocator, kernels
    start = time.perf_counter()
    while not ours or (len(ours) < _MOST_TURNS and time.perf_counter() - start < seconds):
        for setting in by_hand:
            figures[setting].append(_speed(session, setting))
        ours.append(_by_itself(session, cores))
        used = torch.get_num_threads()
        print(f"{name}: auto {ours[-1]:.1f} documents/s, {used} threads", file=sys.stderr)
    lengths = session.tokens("train", MAX_LENGTH).lengths
    group = (
        f"auto: {name}, {documents:,} documents of {lengths.mean():.0f} tokens, MiniLM, batch {BATCH}, right after a "
        f"minute of full load: chose {auto}"
    )
    ranked = sorted(by_hand, key=lambda setting: -statistics.median(figures[setting]))
    return [
        Row(group, "auto", "documents/s", ours, str(setting), figures[setting], "≥ 0.95" if not place else "")
        for place, setting in enumerate(ranked)
    ]


def _speed(session: Session, setting: Setting) -> float:
    torch.set_num_threads(setting.threads)
    with _chunks(setting.side_by_side):
        return _train_only(session.run(_config(setting.precision)))


def _by_itself(session: Session, cores: CoreShare) -> float:
    """As a worker does, which looks at the machine again between its steps."""
    torch.set_num_threads(cores.share_cores())

    def on_step() -> None:
        cores.share_cores()

    return _train_only(session.run(_config("auto"), on_step))


def _config(precision: str) -> FinetuneConfig:
    return FinetuneConfig(epochs=1, batch_size=BATCH, max_length=MAX_LENGTH, precision=precision)


def _train_only(run: Finetune) -> float:
    """Documents a second of one epoch of training, without the evaluation behind it."""
    run.encoder.reset()
    return run._train_epoch(1)["train_docs_per_second"]


@contextmanager
def _chunks(side_by_side: bool) -> Iterator[None]:
    """One chunk at a time, unless side by side."""
    before = threads.runner_for
    if not side_by_side:
        for module in (gradients, embedding):
            module.runner_for = lambda encoder, limit: threads.InTurn()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in (gradients, embedding):
            module.runner_for = before  # type: ignore[attr-defined]


def _be_busy(seconds: float) -> None:
    """Every core busy for so long, by processes that then end."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(usable_cores())]
    time.sleep(seconds)
    for process in started:
        process.kill()
        process.wait()
