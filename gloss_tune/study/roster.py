"""Who is working on a study: one attribute of the study per worker, renewed with its lease.

Being on the roster decides nothing; leases do (see :mod:`gloss_tune.study.queue`). It is what ``status`` shows.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import sqlalchemy
from optuna.storages._rdb import models

from gloss_tune.study.queue import database_now
from gloss_tune.study.storage import SharedStorage

_Attribute = models.StudySystemAttributeModel
_PREFIX = "gloss_tune:worker:"


@dataclass(frozen=True)
class WorkerEntry:
    """One worker as others see it.

    Args:
        id: unique on the storage.
        host: name of its machine.
        pid: its process on that machine.
        device: what it computes on.
        trial: number of the trial that it runs, None between two.
        epoch: the last epoch that it finished in that trial, 0 before the first.
    """

    id: str
    host: str
    pid: int
    device: str
    trial: int | None = None
    epoch: int = 0


def sign_in(storage: SharedStorage, study_id: int, entry: WorkerEntry) -> None:
    """Write or renew the worker's entry."""
    with storage.transaction() as session:
        key = _PREFIX + entry.id
        seen = database_now(session).isoformat()
        stored = json.dumps({**asdict(entry), "seen": seen})
        row = session.scalar(
            sqlalchemy.select(_Attribute).where(_Attribute.study_id == study_id, _Attribute.key == key)
        )
        if row is None:
            session.add(_Attribute(study_id=study_id, key=key, value_json=stored))
        else:
            row.value_json = stored


def sign_out(storage: SharedStorage, study_id: int, worker_id: str) -> None:
    """Remove the worker's entry."""
    with storage.transaction() as session:
        session.execute(
            sqlalchemy.delete(_Attribute).where(
                _Attribute.study_id == study_id, _Attribute.key == _PREFIX + worker_id
            )
        )


def present(storage: SharedStorage, study_id: int, lease: float) -> list[WorkerEntry]:
    """The workers heard of within one lease, by the database's clock, in the order of their ids."""
    with storage.transaction() as session:
        deadline = database_now(session) - timedelta(seconds=lease)
        rows = session.scalars(
            sqlalchemy.select(_Attribute.value_json).where(
                _Attribute.study_id == study_id, _Attribute.key.startswith(_PREFIX, autoescape=True)
            )
        )
        entries = [json.loads(row) for row in rows]
    alive = [e for e in entries if datetime.fromisoformat(e.pop("seen")) >= deadline]
    return sorted((WorkerEntry(**e) for e in alive), key=lambda entry: entry.id)
