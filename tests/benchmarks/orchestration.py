"""What a worker does besides training, and what the reading commands take: at a long history, on both storages.

The trials are rehearsed: real worker processes claim, draw, report, finish and keep leases, but sleep where a trial
would train. What a trial takes beyond its sleep is overhead.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.trial import TrialState
from sqlalchemy.orm import Session

from gloss_tune.spec.build import build_spec
from gloss_tune.storage import schema
from gloss_tune.study.create import create
from gloss_tune.study.distributions import distribution_of
from gloss_tune.study.study import OpenStudy
from tests.benchmarks.table import Row, format_table
from tests.servers import PostgresServer, ServerUnavailableError, postgres_binaries

_LIMIT = 0.1  # 1 % of a trial of 10 s
_WORK_LIMIT = 1.0
_EPOCHS = 10
_TRIAL_LENGTH = timedelta(seconds=10)
_METRICS = (
    "train_loss", "train_gloss", "train_ce", "val_loss", "val_accuracy", "val_macro_f1", "val_silhouette",
    "learning_rate", "train_docs_per_second", "train_tokens_per_second", "train_seconds", "eval_seconds",
    "peak_memory_mb",
)  # fmt: skip
_ENDED = re.compile(r"Trial \d+.*: (complete|pruned|failed)")


def rows(quick: bool) -> list[Row]:
    """Overhead per trial, and the time of the reading commands."""
    table = []
    workers, history, trials, seconds = (2, 20, 8, 0.2) if quick else (8, 1000, 48, 5.0)
    for name, url in _storages(quick):
        for sampler in ("tpe",) if quick else ("tpe", "random"):
            opened = _study(url, sampler, history, trials, seconds)
            overhead = _overhead(opened, url, workers, seconds)
            what = f"{name}, {sampler}, {workers} workers, {history:,} trials of history: beside the training"
            table.append(Row("orchestration", what, "s/trial", overhead, "1 % of 10 s", [_LIMIT], "≤ 1"))
        table += _reading(name, url, 100 if quick else 10_000, 1 if quick else 3)
    return table


def _storages(quick: bool) -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        yield "SQLite", f"sqlite:///{folder}/study.db"
    if quick:
        return
    try:
        server = PostgresServer(postgres_binaries())
    except ServerUnavailableError as reason:
        print(f"Postgres: not run, because {reason}", file=sys.stderr)
        return
    try:
        with server.database() as url:
            yield "Postgres", url
    finally:
        server.close()


def _study(url: str, sampler: str, history: int, trials: int, seconds: float) -> OpenStudy:
    """A rehearsed study with as many finished trials as ``history`` and as many waiting as ``trials``."""
    layer = {
        "dataset": "mr",
        "rehearse": True,
        "rehearse_seconds": seconds,
        "trials": history + trials,
        "sampler": sampler,
        "pruner": "none",
        "train": {"epochs": _EPOCHS, "patience": _EPOCHS},
    }
    opened = create(build_spec(layer), url, f"{sampler}-{history}").study
    finish_trials(opened, history)
    return opened


def finish_trials(opened: OpenStudy, count: int) -> None:
    """End the first waiting trials as if workers had run them, each with all that a real trial leaves."""
    rng = random.Random(0)
    space = {searched.name: distribution_of(searched) for searched in opened.spec.ranges}
    trial = schema.Trial
    with Session(opened.storage.engine) as session:
        waiting = sqlalchemy.select(trial.trial_id).where(
            trial.study_id == opened.study_id, trial.state == TrialState.WAITING
        )
        ids = session.scalars(waiting.order_by(trial.number).limit(count)).all()
        start = datetime.now() - timedelta(hours=1)
        added: list[object] = []
        for trial_id in ids:
            value = rng.random()
            for name, distribution in space.items():
                low = distribution.to_internal_repr(distribution.low)
                high = distribution.to_internal_repr(distribution.high)
                drawn = distribution.to_external_repr(rng.uniform(low, high))
                added.append(
                    schema.TrialParam(
                        trial_id=trial_id,
                        param_name=name,
                        param_value=distribution.to_internal_repr(drawn),
                        distribution_json=distribution_to_json(distribution),
                    )
                )
            added.append(schema.TrialValue(trial_id=trial_id, objective=0, value=value, value_type="FINITE"))
            added += [
                schema.TrialReport(
                    trial_id=trial_id,
                    step=epoch,
                    intermediate_value=value * epoch / _EPOCHS,
                    intermediate_value_type="FINITE",
                )
                for epoch in range(1, _EPOCHS + 1)
            ]
            metrics = dict.fromkeys(_METRICS, value)
            attributes = {
                "attempts": 1,
                "worker": f"host-{trial_id % 8}",
                "device": "cpu",
                "threads": 1,
                "epochs": _EPOCHS,
                "best_epoch": _EPOCHS,
                "metrics": metrics,
                "seconds": 10.0,
            }
            added += [
                schema.TrialUserAttribute(trial_id=trial_id, key=key, value_json=json.dumps(content))
                for key, content in attributes.items()
            ]
        session.add_all(added)
        ended = {
            "state": TrialState.COMPLETE,
            "datetime_start": start,
            "datetime_complete": start + _TRIAL_LENGTH,
        }
        chosen = sqlalchemy.update(trial).where(trial.trial_id.in_(ids)).values(**ended)
        session.execute(chosen, execution_options={"synchronize_session": False})
        session.commit()


def _overhead(opened: OpenStudy, url: str, workers: int, seconds: float) -> list[float]:
    """For each trial but a worker's first: seconds from the end of the one before to its own end, less its sleep."""
    command = [sys.executable, "-m", "gloss_tune", "worker", "--storage", url, "--study", opened.name]
    ends: list[list[float]] = [[] for _ in range(workers)]
    with tempfile.TemporaryDirectory() as folder:
        running = [
            subprocess.Popen(
                command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=folder
            )
            for _ in range(workers)
        ]
        threads = [
            threading.Thread(target=_listen, args=(worker, found))
            for worker, found in zip(running, ends, strict=True)
        ]
        for thread in threads:
            thread.start()
        for worker, thread in zip(running, threads, strict=True):
            if worker.wait():
                raise RuntimeError(f"a worker ended with exit code {worker.returncode}")
            thread.join()
    return [later - earlier - seconds for found in ends for earlier, later in itertools.pairwise(found)]


def _listen(worker: subprocess.Popen[str], ends: list[float]) -> None:
    assert worker.stderr is not None
    for line in worker.stderr:
        if _ENDED.search(line):
            ends.append(time.monotonic())


def _reading(name: str, url: str, trials: int, runs: int) -> list[Row]:
    """What the reading commands take at many trials beyond what they take at one."""
    few, many = (_study(url, "random", count, 1, 0.0) for count in (1, trials))
    table = []
    for command in (["status"], ["export"], ["trials"]):
        call = [*command, "--format", "json", "--storage", url, "--study"]
        times = {opened.name: [_seconds([*call, opened.name]) for _ in range(runs)] for opened in (few, many)}
        work = [slow - min(times[few.name]) for slow in times[many.name]]
        what = f"{name}, {command[0]} of {trials:,} trials"
        table += [
            Row("orchestration", f"{what}: beyond that of one", "s", work, "limit", [_WORK_LIMIT], "≤ 1"),
            Row("orchestration", f"{what}: whole process", "s", times[many.name], "of one", times[few.name]),
        ]
    return table


def _seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "gloss_tune", *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """``python -m tests.benchmarks.orchestration [--quick]``."""
    print(format_table(rows("--quick" in sys.argv)))


if __name__ == "__main__":
    main()
