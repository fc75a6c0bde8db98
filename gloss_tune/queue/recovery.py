"""Bring back the trials of workers that are gone: under their own numbers, with their parameters and budget slots."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy
from optuna.trial import TrialState

from gloss_tune.logging import logger
from gloss_tune.queue.claims import (
    count_reopening,
    end,
    record_heartbeat,
    renew_early_heartbeats,
    requeue,
    silent_claims,
    was_claimed,
)
from gloss_tune.queue.heartbeats import gone_workers, prune_workers
from gloss_tune.storage import schema
from gloss_tune.storage.attributes import number_attribute, set_attributes, text_attribute
from gloss_tune.storage.retry import retried
from gloss_tune.storage.shared_storage import SharedStorage

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


def requeue_lost(
    storage: SharedStorage,
    study_id: int,
    *,
    lease: float,
    max_attempts: int,
    all_running: bool = False,
    only_gone: bool = False,
    children: Collection[int] = (),
) -> Recovered:
    """Requeue the trials whose workers are gone: silent past their lease, or ended on this machine. Says so.

    Args:
        storage: the study's.
        study_id: the database's key.
        lease: of the study, in seconds.
        max_attempts: how often a trial may lose its worker.
        all_running: take every running trial away from its worker, whether that is gone or not; a live one notices,
            drops the trial and takes another.
        only_gone: leave the silent ones alone. They may live: whoever was cut off or asleep itself must first give
            all others the time to renew their leases.
        children: process ids of ended workers that were the caller's children: it surely knows.
    """
    gone = {worker.id for worker in gone_workers(storage, study_id, lease, children)}
    recovered = expire_claims(storage, study_id, math.inf if only_gone else lease, max_attempts, gone)
    prune_workers(storage, study_id, gone, _FORGOTTEN_LEASES * lease)
    for number in recovered.requeued:
        logger.warning("Trial %d: its worker is silent or gone; the trial is requeued.", number)
    for number in recovered.given_up:
        logger.warning("Trial %d failed: it has lost %d workers (max_attempts).", number, max_attempts)
    taken = _requeue_running(storage, study_id) if all_running else []
    return Recovered(sorted([*recovered.requeued, *taken]), recovered.given_up)


@retried
def silent_trials(storage: SharedStorage, study_id: int, lease: float) -> list[int]:
    """Numbers of the running trials whose workers have been silent for longer than the lease, in seconds."""
    with storage.reading() as session:
        return [trial.number for trial in silent_claims(session, study_id, lease)]


@retried
def expire_claims(
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
        renew_early_heartbeats(session, study_id, lease)
        silent = {trial.trial_id for trial in silent_claims(session, study_id, lease)}
        running = (
            sqlalchemy.select(schema.Trial)
            .where(schema.Trial.study_id == study_id, schema.Trial.state == TrialState.RUNNING)
            .order_by(schema.Trial.number)
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
            record_heartbeat(session, trial.trial_id)  # when it failed, by the database's clock
            recovered.given_up.append(trial.number)
    return recovered


@retried
def requeue_failed(storage: SharedStorage, study_id: int) -> dict[int, str]:
    """Give every failed trial another chance, after the cause was fixed: under its number, with its parameters.

    Returns:
        Why each had failed, by its number, in rising order.
    """
    with storage.transaction() as session:
        failed = session.scalars(
            sqlalchemy.select(schema.Trial)
            .where(schema.Trial.study_id == study_id, schema.Trial.state == TrialState.FAIL, was_claimed)
            .order_by(schema.Trial.number)
            .with_for_update()
        ).all()
        keys = [trial.trial_id for trial in failed]
        reasons = {
            trial.number: text_attribute(session, trial.trial_id, "error") or "no reason was told"
            for trial in failed
        }
        for attribute, names in (
            (schema.TrialUserAttribute, ("error", "lost_workers")),
            (schema.TrialSystemAttribute, (schema.CONSTRAINTS,)),
        ):
            session.execute(
                sqlalchemy.delete(attribute).where(attribute.trial_id.in_(keys), attribute.key.in_(names))
            )
        for trial in failed:
            requeue(session, trial.trial_id)
        if failed:
            count_reopening(session, study_id)
        return reasons


@retried
def _requeue_running(storage: SharedStorage, study_id: int) -> list[int]:
    with storage.transaction() as session:
        running = session.scalars(
            sqlalchemy.select(schema.Trial)
            .where(schema.Trial.study_id == study_id, schema.Trial.state == TrialState.RUNNING, was_claimed)
            .order_by(schema.Trial.number)  # two at once must lock in one order
            .with_for_update()
        ).all()
        for trial in running:
            requeue(session, trial.trial_id)
        return [trial.number for trial in running]
