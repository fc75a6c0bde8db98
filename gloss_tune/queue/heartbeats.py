"""Who is working on a study: one attribute of the study per worker, renewed with its lease.

It is what ``status`` shows. Leases decide who holds a trial (see :mod:`gloss_tune.queue.claims`); the registry only
shortens the wait for one where a worker's process is known to have ended.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy

from gloss_tune.processes import ProcessIdentity, is_gone
from gloss_tune.queue.claims import Claim, renew_lease, silent_claims
from gloss_tune.queue.clock import NOW_TEXT, database_now, keep_clock
from gloss_tune.queue.steering import Steering, steering_of
from gloss_tune.storage import schema
from gloss_tune.storage.messages import LATER
from gloss_tune.storage.retry import retried
from gloss_tune.storage.shared_storage import SharedStorage
from gloss_tune.storage.statements import insertion, or_update, upsert

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_BEATS_PER_LEASE = 4
_LONGEST_PAUSE = 5.0
_MISSED_BEATS = 2
_Attribute = schema.StudySystemAttribute
#: How the names of their attributes begin; not as in the first release, whose workers stop at a field more.
AT_WORK = "gloss_tune:at_work:"


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
        speed: documents a second in that epoch's training; 0 before the first, and in a rehearsal.
        precision: that it computes in; empty before its first trial, and in a rehearsal.
        hardware: what its device is, by its maker's name; empty likewise.
        machine: within which ``pid`` is its own (see :mod:`gloss_tune.processes`).
        job: of the engine that started it, empty without one (see :mod:`gloss_tune.jobs`).
        node: what that engine calls its machine.
    """

    id: str
    host: str
    pid: int
    device: str
    trial: int | None = None
    epoch: int = 0
    speed: float = 0.0
    machine: str = ""
    precision: str = ""
    hardware: str = ""
    job: str = ""
    node: str = ""

    @property
    def is_gone(self) -> bool:
        """Whether its process has surely ended, as far as this machine can tell."""
        return is_gone(ProcessIdentity(self.host, self.machine, self.pid))


_UPDATE_BY_SERVER = or_update(
    insertion("postgresql", _Attribute.__table__).values(
        study_id=sqlalchemy.bindparam("study_id"),
        key=sqlalchemy.bindparam("key"),
        value_json=sqlalchemy.bindparam("head", type_=sqlalchemy.Text)
        + NOW_TEXT
        + sqlalchemy.literal_column("'\"}'"),
    ),
    ("study_id", "key"),
    ("value_json",),
).execution_options(**LATER)


def beat_pause(lease: float) -> float:
    """Seconds between two heartbeats of a worker."""
    return min(lease / _BEATS_PER_LEASE, _LONGEST_PAUSE)


_FIELDS = {field.name for field in fields(WorkerEntry)}


@retried
def register_worker(storage: SharedStorage, study_id: int, entry: WorkerEntry) -> None:
    """Write or renew the worker's entry."""
    with storage.single_statement() as session:
        update_worker(session, study_id, entry)


def update_worker(session: Session, study_id: int, entry: WorkerEntry) -> None:
    """:func:`register_worker` as part of a larger transaction."""
    row = {"study_id": study_id, "key": AT_WORK + entry.id}
    known = json.dumps(asdict(entry))
    if session.get_bind().dialect.name != "sqlite":
        head = f'{known.removesuffix("}")}, "seen": "'
        session.connection().execute(_UPDATE_BY_SERVER, {**row, "head": head})
        return
    keep_clock(session)
    stored = json.dumps({**json.loads(known), "seen": database_now(session).isoformat()})
    upsert(session, _Attribute, ("study_id", "key"), [{**row, "value_json": stored}])


@retried
def unregister_worker(storage: SharedStorage, study_id: int, worker_id: str) -> None:
    """Remove the worker's entry."""
    with storage.transaction() as session:
        session.execute(
            sqlalchemy.delete(_Attribute).where(
                _Attribute.study_id == study_id, _Attribute.key == AT_WORK + worker_id
            )
        )


@retried
def live_workers(storage: SharedStorage, study_id: int, lease: float) -> list[WorkerEntry]:
    """The workers heard of within one lease, by the database's clock, in the order of their ids."""
    with storage.reading() as session:
        return present_workers(session, study_id, lease)


def present_workers(session: Session, study_id: int, lease: float) -> list[WorkerEntry]:
    """:func:`live_workers` as part of a larger transaction."""
    deadline = database_now(session) - timedelta(seconds=lease)
    return [entry for entry, seen in read_workers(session, study_id) if seen >= deadline]


@retried
def gone_workers(
    storage: SharedStorage, study_id: int, lease: float, children: Collection[int] = ()
) -> list[WorkerEntry]:
    """The workers whose processes have ended on this machine, in the order of their ids.

    An end that this machine can see is not enough: machines that were cloned while they ran take each other's workers
    for their own. So nothing was heard of these for two heartbeats, too.

    Args:
        children: process ids of ended workers that were the caller's children; these need no silence.
    """
    with storage.reading() as session:
        return _gone(read_workers(session, study_id), database_now(session), lease, children)


def _gone(
    registry: Iterable[tuple[WorkerEntry, datetime]],
    now: datetime,
    lease: float,
    children: Collection[int] = (),
) -> list[WorkerEntry]:
    missed = now - timedelta(seconds=_MISSED_BEATS * beat_pause(lease))
    return [entry for entry, seen in registry if (seen <= missed or entry.pid in children) and entry.is_gone]


@retried
def prune_workers(storage: SharedStorage, study_id: int, gone: Collection[str], silent: float) -> None:
    """Remove the entries of these workers, and of all that have been silent for that many seconds."""
    with storage.transaction() as session:
        deadline = database_now(session) - timedelta(seconds=silent)
        keys = [
            AT_WORK + entry.id
            for entry, seen in read_workers(session, study_id)
            if entry.id in gone or seen < deadline
        ]
        session.execute(
            sqlalchemy.delete(_Attribute).where(_Attribute.study_id == study_id, _Attribute.key.in_(keys))
        )


def read_workers(session: Session, study_id: int) -> list[tuple[WorkerEntry, datetime]]:
    """All entries and when they were renewed, by the database's clock, in the order of their ids."""
    rows = session.scalars(
        sqlalchemy.select(_Attribute.value_json).where(
            _Attribute.study_id == study_id, _Attribute.key.startswith(AT_WORK, autoescape=True)
        )
    )
    found = []
    for row in rows:
        try:
            stored = json.loads(row)
            seen = datetime.fromisoformat(stored.pop("seen")).replace(tzinfo=None)
            # another release may know more of a worker
            entry = WorkerEntry(**{key: value for key, value in stored.items() if key in _FIELDS})
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # or write something else entirely, which must not stop everybody
        found.append((entry, seen))
    return sorted(found, key=lambda pair: pair[0].id)


@dataclass(frozen=True)
class Heartbeat:
    """What a worker learns while it renews its lease.

    Args:
        holds: whether it still holds its trial; True between two trials.
        silence: seconds since its last beat, by the database's clock; 0 at the first, below 0 where that was set back.
        others_silent: whether other workers' trials have outlived their leases.
        others_gone: whether workers have ended on this machine without a word.
        workers: those that were heard of within a lease, this one included.
        steering: what is asked of the study's workers.
    """

    holds: bool
    silence: float
    others_silent: bool
    others_gone: bool
    workers: list[WorkerEntry]
    steering: Steering | None = None


@retried
def send_heartbeat(
    storage: SharedStorage, study_id: int, entry: WorkerEntry, claimed: Claim | None, lease: float
) -> Heartbeat:
    """Renew a worker's lease and its entry in the registry, and look around, in one transaction."""
    with storage.transaction() as session:
        now = database_now(session)
        registry = {other.id: (other, seen) for other, seen in read_workers(session, study_id)}
        _, last_seen = registry.get(entry.id, (entry, now))
        silence = (now - last_seen).total_seconds()
        mine = None if claimed is None else claimed.trial_id
        silent = [trial for trial in silent_claims(session, study_id, lease) if trial.trial_id != mine]
        holds = claimed is None or renew_lease(session, claimed)
        update_worker(session, study_id, entry)
        registry[entry.id] = (entry, now)
        everybody = list(registry.values())
        deadline = now - timedelta(seconds=lease)
        present = [other for other, seen in everybody if seen >= deadline]
        gone = bool(_gone(everybody, now, lease))
        return Heartbeat(holds, silence, bool(silent), gone, present, steering_of(session, study_id))
