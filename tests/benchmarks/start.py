"""From a command to its first training step, from one trial to the next, and what importing takes of it."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.table import Row

_MODULE = [sys.executable, "-m", "gloss_tune"]
_DOCUMENTS = 32
# of a trial with one step an epoch; the first epoch's line comes after that step and one evaluation as small
_STUDY = ["--dataset", "tiny", "--batch-size", str(_DOCUMENTS), "--max-length", "32"]


def rows(quick: bool) -> list[Row]:
    """Seconds of a real worker on a study of tiny trials, from its own log, one thread each."""
    runs, trials = (1, 2) if quick else (3, 4)
    firsts, betweens, imports, bare = [], [], [], []
    for _ in range(runs):
        first, between = _worker(trials)
        firsts.append(first)
        betweens += between
        bare.append(_seconds([sys.executable, "-c", "from sentence_transformers import SentenceTransformer"]))
        imports.append(
            _seconds([sys.executable, "-c", "import gloss_tune.workers.worker, gloss_tune.finetune.session"])
        )
    helps = [_seconds([*_MODULE, "worker", "--help"]) for _ in range(runs)]
    python = [_seconds([sys.executable, "-c", "import typer"]) for _ in range(runs)]
    group = f"start: MiniLM, epochs of one step and one evaluation, {_DOCUMENTS} documents each, 1 thread"
    imported = "importing sentence-transformers alone"
    return [
        Row(group, "worker's start to the end of its first epoch", "s", firsts, imported, bare),
        Row(group, "one trial's end to the end of the next one's first epoch", "s", betweens, imported, bare),
        Row(group, "what the worker imports at once", "s", imports, imported, bare),
        Row(group, "worker --help, whole process", "s", helps, "limit", [0.5], "≤ 1"),
        Row(group, "worker --help, whole process", "s", helps, "importing typer alone", python),
    ]


def _worker(trials: int) -> tuple[float, list[float]]:
    """Seconds to the first epoch's line, and from each trial's end to the first epoch's line of the next."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "GLOSS_TUNE_STORAGE": f"sqlite:///{folder}/study.db",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "GLOSS_TUNE_DATA": folder,
        }
        _write_texts(Path(folder, "tiny"))
        create = [*_MODULE, "create", *_STUDY, "--trials", str(trials), "--epochs", "2", "--pruner", "none"]
        subprocess.run(create, env=environment, cwd=folder, check=True, capture_output=True)
        start = time.monotonic()
        worker = subprocess.Popen(
            [*_MODULE, "worker", "--threads", "1"],
            env=environment, cwd=Path(folder), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert worker.stderr is not None
        epochs, ends = [], []
        for line in worker.stderr:
            if re.search(r"Trial \d+.*: epoch 1,", line):
                epochs.append(time.monotonic())
            elif re.search(r"Trial \d+.*: (complete|failed)", line):
                ends.append(time.monotonic())
        if worker.wait() or len(epochs) != trials:
            raise RuntimeError(
                f"the worker ended with exit code {worker.returncode} after {len(ends)} trials"
            )
    return epochs[0] - start, [epoch - end for end, epoch in zip(ends, epochs[1:], strict=False)]


def _seconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def _write_texts(folder: Path) -> None:
    folder.mkdir()
    for split in ("train", "val", "test"):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for index in range(_DOCUMENTS):
                verdict = ("good", "bad")[index % 2]
                writer.writerow([f"The {index}th film of the {split} days was a {verdict} one.", verdict])
