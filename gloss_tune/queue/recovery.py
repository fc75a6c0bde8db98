"""Bring back the trials of workers that are gone: under their own numbers, with their parameters and budget slots."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy
from optuna.storages._rdb import models
from optuna.trial import TrialState

from gloss_tune.logging import logger
from gloss_tune.queue.claims import (
    INFEASIBLE,
    Claim,
    Trial,
    database_now,
    end,
    note_revival,
    renew_within,
    requeue,
    server_started,
    sign_of_life,
)
from gloss_tune.queue.heartbeats import WorkerEntry, entries, everyone, strike_off, write_entry
from gloss_tune.storage.attributes import number_attribute, set_attributes, text_attribute
from gloss_tune.storage.retry import patient
from gloss_tune.storage.shared_storage import SharedStorage
from gloss_tune.study.study import OpenStudy

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_FORGOTTEN_LEASES = 100.0


@dataclass(frozen=True)
class Recovered:
    """What became of the trials of workers that are gone.

    Args:
        requeued: numbers of those that wait for their next attempt.
        given_up: numbers of those that have lost too many workers, and failed.
    """

    requeued: list[int]
    given_up: list[int]


@dataclass(frozen=True)
class Beat:
    """What a worker learns while it renews its lease.

    Args:
        holds: whether it still holds its trial; True between two trials.
        silence: seconds since its last beat, by the database's clock; 0 at the first.
        others_silent: whether other workers' trials have outlived their leases.
        roster: all workers, the silent too.
        present: those that were heard of within a lease, this one included.
    """

    holds: bool
    silence: float
    others_silent: bool
    roster: list[WorkerEntry]
    present: list[WorkerEntry]


@patient
def beat(
    storage: SharedStorage, study_id: int, entry: WorkerEntry, claimed: Claim | None, lease: float
) -> Beat:
    """Renew a worker's lease and its entry in the roster, and look around, in one transaction."""
    with storage.transaction() as session:
        now = database_now(session)
        roster = {other.id: (other, seen) for other, seen in entries(session, study_id)}
        _, last_seen = roster.get(entry.id, (entry, now))
        silence = (now - last_seen).total_seconds()
        mine = None if claimed is None else claimed.trial_id
        silent = [trial for trial in _silent(session, study_id, lease) if trial.trial_id != mine]
        holds = claimed is None or renew_within(session, claimed)
        write_entry(session, study_id, entry)
        roster[entry.id] = (entry, now)
        deadline = now - timedelta(seconds=lease)
        present = [other for other, seen in roster.values() if seen >= deadline]
        return Beat(holds, silence, bool(silent), [other for other, _ in roster.values()], present)


def requeue_lost(opened: OpenStudy, *, all_running: bool = False, only_gone: bool = False) -> Recovered:
    """Requeue the trials whose workers are gone: silent past their lease, or ended on this machine. Says so.

    Args:
        opened: the study.
        all_running: take every running trial away from its worker, whether that is gone or not; a live one notices,
            drops the trial and takes another.
        only_gone: leave the silent ones alone. They may live: whoever was cut off or asleep itself must first give
            all others the time to renew their leases.
    """
    storage, study_id, spec = opened.storage, opened.study_id, opened.spec
    gone = {worker.id for worker in everyone(storage, study_id) if worker.is_gone}
    lease = math.inf if only_gone else spec.lease
    recovered = reap(storage, study_id, lease, spec.max_attempts, gone)
    strike_off(storage, study_id, gone, _FORGOTTEN_LEASES * spec.lease)
    for number in recovered.requeued:
        logger.warning("Trial %d: its worker is silent or gone; the trial is requeued.", number)
    for number in recovered.given_up:
        logger.warning("Trial %d failed: it has lost %d workers (max_attempts).", number, spec.max_attempts)
    taken = _take_away(storage, study_id) if all_running else []
    return Recovered(sorted([*recovered.requeued, *taken]), recovered.given_up)


@patient
def silent_trials(storage: SharedStorage, study_id: int, lease: float) -> list[int]:
    """Numbers of the running trials whose workers have been silent for longer than the lease, in seconds."""
    with storage.reading() as session:
        return [trial.number for trial in _silent(session, study_id, lease)]


@patient
def reap(
    storage: SharedStorage,
    study_id: int,
    lease: float,
    max_attempts: int,
    gone: Collection[str] = (),
) -> Recovered:
    """Requeue the trials whose workers have been silent for longer than the lease, by the database's clock.

    Time for which the server itself was away does not count. A trial that has lost its worker ``max_attempts`` times
    fails with that history instead, so that one which kills its workers cannot hold up a study for ever. Orderly
    stops do not count.

    Args:
        lease: in seconds; infinite to look at ``gone`` alone.
        gone: ids of workers that are known to have ended; their leases need not end first.
    """
    recovered = Recovered([], [])
    with storage.transaction() as session:
        silent = {trial.trial_id for trial in _silent(session, study_id, lease)}
        running = (
            sqlalchemy.select(Trial)
            .where(Trial.study_id == study_id, Trial.state == TrialState.RUNNING)
            .order_by(Trial.number)
        )
        for trial in session.scalars(running.with_for_update(skip_locked=True)).all():
            is_gone = bool(gone) and text_attribute(session, trial.trial_id, "worker") in gone
            if trial.trial_id not in silent and not is_gone:
                continue
            losses = number_attribute(session, trial.trial_id, "lost_workers") + 1
            set_attributes(session, trial.trial_id, {"lost_workers": losses})
            if losses < max_attempts:
                requeue(session, trial.trial_id)
                recovered.requeued.append(trial.number)
                continue
            reason = (
                f"WorkerLost: the trial lost its worker {losses} times, which is the limit (max_attempts)"
            )
            set_attributes(session, trial.trial_id, {"error": reason})
            end(session, trial.trial_id, TrialState.FAIL)
            sign_of_life(session, trial.trial_id)  # when it failed, by the database's clock
            recovered.given_up.append(trial.number)
    return recovered


def _silent(session: Session, study_id: int, lease: float) -> Sequence[Any]:
    """The running trials that nobody has renewed for a lease, or since the server's start if that was later."""
    if math.isinf(lease):
        return []
    now = database_now(session)
    deadline = now - timedelta(seconds=lease)
    if server_started(session) > deadline:
        return []
    life = models.TrialHeartbeatModel
    # no sign of life at all, and one from the future (a clock was set back), are none that anybody renews
    lapsed = (
        life.heartbeat.is_(None)
        | (life.heartbeat < deadline)
        | (life.heartbeat > now + timedelta(seconds=lease))
    )
    return session.scalars(
        sqlalchemy.select(Trial)
        .outerjoin(life, life.trial_id == Trial.trial_id)
        .where(Trial.study_id == study_id, Trial.state == TrialState.RUNNING, lapsed)
        .order_by(Trial.number)
    ).all()


@patient
def requeue_failed(storage: SharedStorage, study_id: int) -> list[int]:
    """Give every failed trial another chance, after the cause was mended: under its number, with its parameters.

    Returns:
        Their numbers, in rising order.
    """
    with storage.transaction() as session:
        failed = session.scalars(
            sqlalchemy.select(Trial)
            .where(Trial.study_id == study_id, Trial.state == TrialState.FAIL)
            .order_by(Trial.number)
            .with_for_update()
        ).all()
        keys = [trial.trial_id for trial in failed]
        for attribute, names in (
            (models.TrialUserAttributeModel, ("error", "lost_workers")),
            (models.TrialSystemAttributeModel, (INFEASIBLE,)),
        ):
            session.execute(
                sqlalchemy.delete(attribute).where(attribute.trial_id.in_(keys), attribute.key.in_(names))
            )
        for trial in failed:
            requeue(session, trial.trial_id)
        if failed:
            note_revival(session, study_id)
        return [trial.number for trial in failed]


@patient
def _take_away(storage: SharedStorage, study_id: int) -> list[int]:
    with storage.transaction() as session:
        running = session.scalars(
            sqlalchemy.select(Trial)
            .where(Trial.study_id == study_id, Trial.state == TrialState.RUNNING)
            .order_by(Trial.number)  # two at once must lock in one order
            .with_for_update()
        ).all()
        for trial in running:
            requeue(session, trial.trial_id)
        return [trial.number for trial in running]
