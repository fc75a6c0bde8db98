"""Trials an hour on one device by how many processes share it; as a module of its own, one of these processes.

All processes are started first, load, and train one trial to warm up. Then rounds are run: the first K processes are
told at the same moment to train some trials, and a round's time ends with the last of them. Processes that have no
part in a round wait for a line and compute nothing. A trial is a whole short fine-tune: reset the encoder, train,
validate, keep the best weights.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.children import Child, children, reply

_READY, _DONE = "ready", "done"


@dataclass(frozen=True)
class TrialJob:
    """What the processes train.

    Args:
        encoder: folder or name, as ``resolve_encoder`` takes it.
        device: that they share.
        precision: as in ``FinetuneConfig``.
        documents: of the training split; a tenth as many validate.
        epochs: of a trial.
        batch_size: documents a step.
        trials: of each process in a round.
        rounds: at most.
    """

    encoder: str
    device: str
    precision: str
    documents: int
    epochs: int
    batch_size: int
    trials: int
    rounds: int


def trials_per_hour(
    job: TrialJob, counts: Sequence[int], folder: Path, seconds: float
) -> Iterator[tuple[int, list[float]]]:
    """One figure a round, for each number of processes as soon as it is measured.

    Rounds for which the time would not suffice are left out, and with them numbers of processes.

    Args:
        job: what is trained.
        counts: numbers of processes, rising.
        folder: for files that are needed meanwhile.
        seconds: for everything, starting the processes included.

    Raises:
        RuntimeError: a process has failed.
        TimeoutError: the time was over during a round.
    """
    deadline = time.monotonic() + seconds
    path = folder / "trial-job.json"
    path.write_text(json.dumps(vars(job)), encoding="utf-8")
    most = max(counts)
    threads = max(1, (os.cpu_count() or 1) // most)
    module = "tests.benchmarks.gpu_trials"
    with children(module, path, folder, count=most, seconds=seconds, threads=threads) as processes:
        for process in processes:
            _expect(process, _READY)
        last = 0.0
        for count in counts:
            figures: list[float] = []
            # twice as many processes take twice as long at worst
            while len(figures) < job.rounds and time.monotonic() + 2 * last < deadline:
                last = _round(processes[:count], job.trials)
                figures.append(3600 * count * job.trials / last)
            if not figures:
                return
            yield count, figures


def _round(processes: Sequence[Child], trials: int) -> float:
    """Seconds that these take, all at once, to train some trials each."""
    start = time.perf_counter()
    for process in processes:
        process.tell(str(trials))
    for process in processes:
        _expect(process, _DONE)
    return time.perf_counter() - start


def _expect(process: Child, word: str) -> None:
    answer = process.listen()
    if answer != word:
        raise RuntimeError(f"a process must answer {word!r}, got {answer!r}")


def _work(job: TrialJob) -> None:
    """Train as many trials as each line of stdin says."""
    from gloss_tune.encoder import resolve_encoder
    from gloss_tune.finetune import FinetuneConfig
    from gloss_tune.finetune.session import Session
    from tests.benchmarks.synthetic import MR_LIKE, synthetic_dataset, whole_words

    encoder = resolve_encoder(job.encoder)
    max_length = MR_LIKE.max_length if job.documents > 1000 else 32
    dataset = synthetic_dataset(whole_words(encoder.path), MR_LIKE, job.documents, job.documents // 10)
    session = Session(dataset, encoder, job.device, max_length)

    def train(seed: int) -> None:
        config = FinetuneConfig(
            epochs=job.epochs,
            patience=job.epochs,
            batch_size=job.batch_size,
            max_length=max_length,
            precision=job.precision,
            learning_rate=2e-5,
            seed=seed,
        )
        # a run ends with its best weights in place: the device is done
        for _ in session.run(config).epochs():
            pass

    trained = 0
    train(trained)
    reply(_READY)
    for line in sys.stdin:
        for _ in range(int(line)):
            trained += 1
            train(trained)
        reply(_DONE)


if __name__ == "__main__":
    _work(TrialJob(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
