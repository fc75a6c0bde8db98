"""The thread that keeps a worker's lease alive while the worker computes, and requeues what lost workers held."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gloss_tune.logging import logger
from gloss_tune.queue.claims import Claim
from gloss_tune.queue.heartbeats import (
    WorkerEntry,
    beat_pause,
    live_workers,
    register_worker,
    send_heartbeat,
    unregister_worker,
)
from gloss_tune.queue.steering import Steering
from gloss_tune.study.study import OpenStudy

_CAUTIOUS_BEATS = 2


@dataclass(frozen=True)
class WorkersHere:
    """The study's workers on this machine.

    Args:
        count: how many, this one included.
        others: process ids of the others, as far as they mean the same here.
    """

    count: int = 1
    others: tuple[int, ...] = ()


class LeaseKeeper:
    """Renews the lease of the trial at hand, keeps the worker on the registry, and requeues lost workers' trials.

    Args:
        opened: the study.
        entry: the worker, as others shall see it.
    """

    def __init__(self, opened: OpenStudy, entry: WorkerEntry) -> None:
        self._opened = opened
        self._entry = entry
        self._claim: Claim | None = None
        self._lost = False
        self._workers_here = WorkersHere()
        self._steering: Steering | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._pause = beat_pause(opened.spec.lease)
        # a clock may just have been set forward, for which nobody has renewed anything yet
        self._cautious_until = time.monotonic() + _CAUTIOUS_BEATS * self._pause
        self._thread = threading.Thread(target=self._send_heartbeats, name="lease-keeper", daemon=True)

    def __enter__(self) -> LeaseKeeper:
        register_worker(self._opened.storage, self._opened.study_id, self._entry)
        self.count_workers_here()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        unregister_worker(self._opened.storage, self._opened.study_id, self._entry.id)

    def watch(self, claimed: Claim | None) -> None:
        """From now on, keep this claim's lease; None between two trials, which the next heartbeat tells the others."""
        with self._lock:
            self._claim, self._lost = claimed, False
            if claimed is not None:  # which proves that nothing was asked then
                self._steering = None
            number = None if claimed is None else claimed.number
            self._entry = replace(self._entry, trial=number, epoch=0, speed=0.0)
        if claimed is not None:
            register_worker(self._opened.storage, self._opened.study_id, self._entry)

    def describe(self, facts: Mapping[str, object]) -> None:
        """Remember what the worker computes in and by, for the next heartbeat."""
        with self._lock:
            self._entry = replace(
                self._entry,
                precision=str(facts.get("precision", "")),
                hardware=str(facts.get("hardware", "")),
            )

    def finished_epoch(self, epoch: int, speed: float) -> None:
        """Remember how far the trial is and how fast it trains (documents/s), for the next heartbeat."""
        with self._lock:
            self._entry = replace(self._entry, epoch=epoch, speed=speed)

    @property
    def claimed(self) -> Claim | None:
        """The claim whose lease is kept now."""
        return self._claim

    @property
    def lost(self) -> bool:
        """Whether the last heartbeat found that the claim is no longer ours."""
        return self._lost

    @property
    def steering(self) -> Steering | None:
        """What is asked of the study's workers, as of the last heartbeat."""
        return self._steering

    @property
    def workers_here(self) -> WorkersHere:
        """The study's workers on this machine, as of the last heartbeat."""
        return self._workers_here

    def count_workers_here(self) -> WorkersHere:
        """Count the workers on this machine now."""
        others = live_workers(self._opened.storage, self._opened.study_id, self._opened.spec.lease)
        self._workers_here = self._beside(others)
        return self._workers_here

    def _send_heartbeats(self) -> None:
        while not self._stop.wait(self._pause):
            try:
                self._heartbeat()
            except Exception as error:  # the main thread decides what becomes of the worker
                logger.warning("The lease could not be renewed (%s); trying again.", error)
        self._opened.storage.remove_session()

    def _heartbeat(self) -> None:
        with self._lock:
            claimed, entry = self._claim, self._entry
        lease = self._opened.spec.lease
        heard = send_heartbeat(self._opened.storage, self._opened.study_id, entry, claimed, lease)
        if not heard.holds:
            with self._lock:
                self._lost = self._claim == claimed
        self._workers_here = self._beside(heard.workers)
        self._steering = heard.steering
        # cut off or asleep, and so perhaps all others were, or the clock was set: let them renew first
        if heard.silence > lease or heard.silence < -self._pause:
            self._cautious_until = time.monotonic() + lease
        cautious = time.monotonic() < self._cautious_until
        if (heard.others_silent and not cautious) or heard.others_gone:
            self._opened.requeue_lost(only_gone=cautious)

    def _beside(self, workers: list[WorkerEntry]) -> WorkersHere:
        own = self._entry
        others = [worker for worker in workers if worker.host == own.host and worker.id != own.id]
        pids = tuple(worker.pid for worker in others if worker.machine == own.machine)
        return WorkersHere(1 + len(others), pids)
