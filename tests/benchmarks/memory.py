"""What large batches and many trials take: each figure of memory in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gloss_tune.encoder import resolve_encoder
from gloss_tune.finetune import FinetuneConfig, gradients
from gloss_tune.finetune.memory import peak_memory_mb
from gloss_tune.finetune.session import Session
from tests.benchmarks.table import Row
from tests.benchmarks.training import MAX_LENGTH, MODEL, dataset

_REPOSITORY = Path(__file__).resolve().parents[2]


def rows(quick: bool) -> list[Row]:
    """Peak and time of a batch of 2,048 against one of 128, gradients of both steps, and memory over trials."""
    small, large = (16, 64) if quick else (128, 2048)
    runs = 1 if quick else 3
    peaks, rates = {}, {}
    for batch in (small, large):
        found = [_in_child("batch", str(batch), str(4 * small if quick else 2048)) for _ in range(runs)]
        peaks[batch] = [figures["peak"] for figures in found]
        rates[batch] = [figures["rate"] for figures in found]
    group, peer = "large batches (one process each, 1 thread)", f"batch {small}"
    differences = gradient_differences(64 if quick else 512)
    trials = 4 if quick else 50
    curve = _in_child("trials", str(trials))["memory"]
    return [
        Row(group, f"peak memory, batch {large:,}", "MiB", peaks[large], peer, peaks[small], "≤ 1.25"),
        Row(group, f"training, batch {large:,}", "documents/s", rates[large], peer, rates[small]),
        Row(
            group, "gradient of the chunked step, farthest weight (relative norm, float32)", "",
            differences, "limit", [1e-4], "≤ 1",
        ),
        Row(
            "many trials in one process", f"memory after trial {trials}, MiniLM, 32 documents", "MiB", [curve[-1]],
            "after trial 2", [curve[1]], "about 1",
        ),
    ]  # fmt: skip


def gradient_differences(batch: int) -> list[float]:
    """How far the chunked step's gradient is from the plain one's, at the farthest weight; one for each of 3 seeds."""
    session = Session(dataset("mr", batch), resolve_encoder(MODEL), "cpu", MAX_LENGTH)
    documents = np.argsort(-session.tokens("train", MAX_LENGTH).lengths, kind="stable")
    return [_difference(session, documents, seed) for seed in range(3)]


def _difference(session: Session, documents: NDArray[np.int64], seed: int) -> float:
    config = FinetuneConfig(
        epochs=1, batch_size=len(documents), max_length=MAX_LENGTH, precision="float32", seed=seed
    )
    before = gradients._PLAIN_TOKENS["cpu"]
    found = []
    for plain_tokens in (10**9, 0):
        run = session.run(config)
        run.encoder.model.train()
        gradients._PLAIN_TOKENS["cpu"] = plain_tokens
        try:
            torch.manual_seed(seed)
            run._gradients.add(documents, run._loss, torch.Generator().manual_seed(seed))
        finally:
            gradients._PLAIN_TOKENS["cpu"] = before
        found.append([None if weight.grad is None else weight.grad.clone() for weight in run._trained])
        for weight in run._trained:
            weight.grad = None
    pairs = [(p, c) for p, c in zip(*found, strict=True) if p is not None and c is not None]
    # a weight whose gradient is rounding alone (a key's bias) has no direction to compare
    least = 1e-6 * max(float(plain.norm()) for plain, _ in pairs)
    return max(float((c - p).norm() / p.norm()) for p, c in pairs if float(p.norm()) > least)


def _in_child(*arguments: str) -> dict[str, object]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.memory", *arguments],
        cwd=_REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found: dict[str, object] = json.loads(ran.stdout.splitlines()[-1])
    return found


def _one_batch_size(batch: int, documents: int) -> dict[str, float]:
    session = Session(dataset("mr", documents), resolve_encoder(MODEL), "cpu", MAX_LENGTH)
    rates = []
    run = session.run(FinetuneConfig(epochs=2, batch_size=batch, max_length=MAX_LENGTH))
    for report in run.epochs():
        rates.append(report.metrics["train_docs_per_second"])
    return {"peak": peak_memory_mb(torch.device("cpu")), "rate": rates[-1]}


def _many_trials(trials: int) -> dict[str, list[float]]:
    import psutil

    session = Session(dataset("mr", 32), resolve_encoder(MODEL), "cpu", 32)
    memory = []  # as the next trial begins
    for seed in range(trials + 1):
        run = session.run(FinetuneConfig(epochs=1, batch_size=16, max_length=32, seed=seed))
        memory.append(psutil.Process().memory_info().rss / 2**20)
        list(run.epochs())
        del run
    return {"memory": memory[1:]}


if __name__ == "__main__":
    kind, *numbers = sys.argv[1:]
    made = _one_batch_size(*map(int, numbers)) if kind == "batch" else _many_trials(*map(int, numbers))
    print(json.dumps(made))
