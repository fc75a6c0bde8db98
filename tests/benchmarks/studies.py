"""Trials an hour of a real study on this machine's cores: one worker against several."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from gloss_tune.cores import usable_cores
from tests.benchmarks.table import Row

_MODULE = [sys.executable, "-m", "gloss_tune"]


def rows(quick: bool) -> list[Row]:
    """The same study, its trials as long as a search's, by one worker with all cores and by one worker a core."""
    trials, documents, runs = (2, 32, 1) if quick else (6, 512, 3)
    many = max(2, usable_cores())
    times: dict[int, list[float]] = {1: [], many: []}
    for turn in range(runs):
        for workers in times:
            seconds = _study(workers, trials, documents)
            times[workers].append(3600 * trials / seconds)
            print(f"studies: {workers} workers, run {turn + 1}: {seconds:.0f} s", file=sys.stderr)
    data = "mr" if os.environ.get("GLOSS_TUNE_DATA") else "stdlib"
    group = (
        f"studies: {data}, {trials} trials of {documents} documents, 2 epochs, whole command, start included"
    )
    what = f"{many} workers, one thread each" if many == usable_cores() else f"{many} workers"
    return [Row(group, what, "trials/h", times[many], "1 worker with all cores", times[1], "above 1")]


def _study(workers: int, trials: int, documents: int) -> float:
    data = "mr" if os.environ.get("GLOSS_TUNE_DATA") else "stdlib"
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "GLOSS_TUNE_STORAGE": f"sqlite:///{folder}/study.db",
            "HF_HUB_OFFLINE": "1",
        }
        environment.pop("OMP_NUM_THREADS", None)
        options = ["--dataset", data, "--trials", str(trials), "--max-train-docs", str(documents)]
        options += ["--epochs", "2", "--pruner", "none", "--sampler", "random", "--max-length", "64"]
        options += ["--set", "space.learning_rate.high=0.0002"]
        subprocess.run(
            [*_MODULE, "create", *options], env=environment, cwd=folder, check=True, capture_output=True
        )
        start = time.perf_counter()
        subprocess.run(
            [*_MODULE, "launch", "--workers", str(workers)],
            env=environment, cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
        return time.perf_counter() - start
