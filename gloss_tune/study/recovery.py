"""Bring back the trials of workers that are gone: under their own numbers, with their parameters and budget slots."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import sqlalchemy
from optuna.storages._rdb import models
from optuna.trial import TrialState

from gloss_tune.study.opened import OpenStudy
from gloss_tune.study.patience import patient
from gloss_tune.study.queue import (
    INFEASIBLE,
    Trial,
    database_now,
    requeue,
    server_started,
    set_attribute,
)
from gloss_tune.study.roster import gone_from_here, strike_off
from gloss_tune.study.shared_storage import SharedStorage, number_attribute, text_attribute

_FORGOTTEN_LEASES = 100.0


def requeue_lost(opened: OpenStudy, *, all_running: bool = False) -> list[int]:
    """Requeue the trials whose workers are gone: silent past their lease, or ended on this machine.

    Args:
        opened: the study.
        all_running: take every running trial away from its worker, whether that is gone or not; a live one notices,
            drops the trial and takes another.

    Returns:
        The numbers of the trials concerned, in rising order.
    """
    storage, study_id, spec = opened.storage, opened.study_id, opened.spec
    gone = gone_from_here(storage, study_id)
    lost = reap(storage, study_id, spec.lease, spec.max_attempts, gone)
    strike_off(storage, study_id, gone, _FORGOTTEN_LEASES * spec.lease)
    return sorted([*lost, *(_take_away(storage, study_id) if all_running else [])])


@patient
def reap(
    storage: SharedStorage,
    study_id: int,
    lease: float,
    max_attempts: int,
    gone: Collection[str] = (),
) -> list[int]:
    """Requeue the trials whose workers have been silent for longer than the lease, by the database's clock.

    Time for which the server itself was away does not count. A trial that has lost its worker ``max_attempts`` times
    fails with that history instead, so that one which kills its workers cannot hold up a study for ever. Orderly
    stops do not count.

    Args:
        lease: in seconds.
        gone: ids of workers that are known to have ended; their leases need not end first.

    Returns:
        The numbers of the trials concerned.
    """
    reaped = []
    with storage.transaction() as session:
        deadline = database_now(session) - timedelta(seconds=lease)
        nobody_could_renew = server_started(session) > deadline
        running = (
            sqlalchemy.select(Trial, models.TrialHeartbeatModel.heartbeat)
            .join(
                models.TrialHeartbeatModel,
                models.TrialHeartbeatModel.trial_id == Trial.trial_id,
            )
            .where(Trial.study_id == study_id, Trial.state == TrialState.RUNNING)
            .order_by(Trial.number)
            .with_for_update(of=Trial, skip_locked=True)
        )
        for trial, heartbeat in session.execute(running).all():
            silent = heartbeat < deadline and not nobody_could_renew
            if not silent and (not gone or text_attribute(session, trial.trial_id, "worker") not in gone):
                continue
            reaped.append(trial.number)
            losses = number_attribute(session, trial.trial_id, "lost_workers") + 1
            set_attribute(session, trial.trial_id, "lost_workers", losses)
            if losses < max_attempts:
                requeue(trial)
                continue
            reason = (
                f"WorkerLost: the trial lost its worker {losses} times, which is the limit (max_attempts)"
            )
            set_attribute(session, trial.trial_id, "error", reason)
            trial.state = TrialState.FAIL
            trial.datetime_complete = datetime.now()
    return reaped


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
            requeue(trial)
        return [trial.number for trial in failed]


@patient
def _take_away(storage: SharedStorage, study_id: int) -> list[int]:
    with storage.transaction() as session:
        running = session.scalars(
            sqlalchemy.select(Trial)
            .where(Trial.study_id == study_id, Trial.state == TrialState.RUNNING)
            .with_for_update()
        ).all()
        for trial in running:
            requeue(trial)
        return [trial.number for trial in running]
