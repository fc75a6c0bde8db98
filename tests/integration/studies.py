"""Studies for the tests: made quickly, seen by several workers, with leases that can be aged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy
from optuna.trial import FrozenTrial

from gloss_tune.finetune.config import EpochReport
from gloss_tune.queue import claims, clock, recovery
from gloss_tune.queue.claims import Claim
from gloss_tune.spec.build import build_spec
from gloss_tune.storage import schema
from gloss_tune.storage.shared_storage import SharedStorage
from gloss_tune.study.create import create
from gloss_tune.study.study import OpenStudy, open_study

METRICS = {
    "train_loss": 0.5,
    "val_loss": 0.6,
    "val_accuracy": 0.7,
    "val_silhouette": 0.1,
    "train_docs_per_second": 100.0,
    "train_seconds": 0.1,
    "eval_seconds": 0.1,
    "peak_memory_mb": 1.0,
}

real_server_started = clock.server_started


@pytest.fixture(autouse=True)
def all_connections_closed() -> Iterator[None]:
    """A command's process ends with its connections; here they must not outlive the test's database."""
    opened: list[SharedStorage] = []
    initialise = SharedStorage.__init__

    def remember(self: SharedStorage, *arguments: Any, **options: Any) -> None:
        opened.append(self)
        initialise(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SharedStorage, "__init__", remember)
        yield
    for storage in opened:
        storage.remove_session()
        storage.engine.dispose()


@pytest.fixture(autouse=True)
def server_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's server has just started, and leases are judged from then on; here they are aged by hand."""
    monkeypatch.setattr("gloss_tune.queue.claims.server_started", lambda session: datetime.min)


#: What the files of a study named "study" are called.
FILES = "study.0"


@pytest.fixture(autouse=True)
def known_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each study's files have a name of their own; here it is known."""
    monkeypatch.setattr("gloss_tune.study.study.new_identifier", lambda: "0")


def make(url: str, name: str = "study", **layer: Any) -> OpenStudy:
    """A rehearsal study, by default of four trials."""
    base = {"dataset": "mr", "rehearse": True, "trials": 4, "lease": 30}
    return create(build_spec(base, layer), url, name).study


def join(url: str, name: str | None = None) -> OpenStudy:
    """The same study as another worker sees it: connections and claims of its own."""
    return open_study(url, name)


def trial_of(opened: OpenStudy, number: int) -> FrozenTrial:
    """The trial as it is in the database now."""
    return opened.storage.get_all_trials(opened.study_id)[number]


def age(opened: OpenStudy, number: int, seconds: float) -> None:
    """Move the last sign of life of a trial's worker into the past."""
    trial_id = trial_of(opened, number)._trial_id
    with opened.storage.transaction() as session:
        heartbeat = session.scalar(
            sqlalchemy.select(schema.TrialHeartbeat).where(schema.TrialHeartbeat.trial_id == trial_id)
        )
        assert heartbeat is not None
        heartbeat.heartbeat = heartbeat.heartbeat - timedelta(seconds=seconds)


def silence(opened: OpenStudy, seconds: float) -> None:
    """No worker has renewed its entry for a while."""
    attribute = schema.StudySystemAttribute
    with opened.storage.transaction() as session:
        for row in session.scalars(sqlalchemy.select(attribute).where(attribute.key.contains("at_work:"))):
            stored = json.loads(row.value_json)
            seen = datetime.fromisoformat(stored["seen"]) - timedelta(seconds=seconds)
            row.value_json = json.dumps({**stored, "seen": seen.isoformat()})


def renew(storage: SharedStorage, claimed: Claim) -> bool:
    """Prolong a lease, in a transaction of its own."""
    with storage.transaction() as session:
        return claims.renew_lease(session, claimed)


def expire(storage: SharedStorage, study_id: int, lease: float, max_attempts: int) -> list[int]:
    """Numbers of the trials that lost their workers, whatever became of them."""
    recovered = recovery.expire_claims(storage, study_id, lease, max_attempts)
    return sorted([*recovered.requeued, *recovered.given_up])


def contents(url: str) -> dict[str, list[Any]]:
    """Every table of a database with all its rows."""
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            tables = sqlalchemy.inspect(connection).get_table_names()
            return {
                t: sorted(map(repr, connection.execute(sqlalchemy.text(f'SELECT * FROM "{t}"'))))
                for t in tables
            }
    finally:
        engine.dispose()


class ScriptedRun:
    """A fine-tune whose epochs are scripted: each a value of the metric, or an exception to raise."""

    def __init__(self, *script: float | BaseException, metric: str = "val_macro_f1") -> None:
        self._script = script
        self._metric = metric
        self.best: EpochReport | None = None
        self.reached = 0
        self.closed = False

    def epochs(self) -> Iterator[EpochReport]:
        try:
            for epoch, step in enumerate(self._script, start=1):
                self.reached = epoch
                if isinstance(step, BaseException):
                    raise step
                is_best = self.best is None or step > self.best.metrics[self._metric]
                report = EpochReport(epoch, {**METRICS, self._metric: step}, is_best)
                if is_best:
                    self.best = report
                yield report
        finally:
            self.closed = True

    def state_dict(self) -> dict[str, Any]:
        raise NotImplementedError

    def load_state_dict(self, state: Any) -> None:
        raise NotImplementedError
