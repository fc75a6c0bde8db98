"""A group of workers on this machine, supervised: signals are passed on, and the dead are replaced."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from gloss_tune.errors import ExitCode, GlossTuneError, InputError, StartAbandonedError
from gloss_tune.launch.child import LeaveOrder, Leaving, Order, StopOrder, TrialFinished, Why, work_for_parent
from gloss_tune.launch.density import Density
from gloss_tune.launch.policy import MOST_DEATHS, RestartPolicy, why_ended
from gloss_tune.launch.starter import Starter, end_server
from gloss_tune.launch.watch import StudyWatch
from gloss_tune.limits import limit_reached
from gloss_tune.logging import logger
from gloss_tune.queue.steering import Steering, how_to_resume, read_steering
from gloss_tune.signals import StopFlag
from gloss_tune.study.status import finished_of, trial_counts
from gloss_tune.study.study import OpenStudy
from gloss_tune.wording import count
from gloss_tune.workers.options import WorkerOptions

_LOOK_SECONDS = 0.2
_MARGIN_SECONDS = 10.0
_AFTER_KILL_SECONDS = 2.0
_AFTER_SIGNALS = range(129, 160)


@dataclass
class _Member:
    """One worker of the group, in its present life."""

    process: BaseProcess
    connection: Connection
    silent: bool = False
    leaving: Leaving | None = None


def supervise(
    opened: OpenStudy,
    storage: str,
    starter: Starter,
    devices: Sequence[str],
    options: WorkerOptions,
    stop: StopFlag,
    density: Density | None = None,
) -> int:
    """Run a group of workers until each has left.

    Args:
        opened: the study.
        storage: its database, as the workers shall open it.
        starter: starts their processes.
        devices: the device of each worker.
        options: of each worker.
        stop: its first signal lets the workers finish their epoch, its second stops them at once; SIGUSR1 lets them
            leave after an epoch of any length.
        density: chooses the workers, instead of ``devices``.

    Returns:
        The exit code: 0, 75 if the workers left on request with work remaining, or 128 + the signal that stopped them.

    Raises:
        InputError: if a worker finds that this machine's data, encoder or device is not fit for the study.
        GlossTuneError: if workers that died again and again, or gave the study up, leave trials behind.
    """
    now = trial_counts(opened)
    left = now["waiting"] + now["running"]
    if not left:
        logger.info("%s Nothing is left to run.", _summary(opened, now))
        return 0
    if read_steering(opened.storage, opened.study_id) is Steering.stopped:
        logger.info("%s %s", _summary(opened, now), _stopped(opened, now))
        return ExitCode.DONE
    if density is not None:
        devices = density.start(opened, left)
    watch = StudyWatch(opened, now, density)
    return _Group(opened, storage, starter, devices, options, stop, watch).run()


class _Group:
    def __init__(
        self,
        opened: OpenStudy,
        storage: str,
        starter: Starter,
        devices: Sequence[str],
        options: WorkerOptions,
        stop: StopFlag,
        watch: StudyWatch,
    ) -> None:
        self._opened = opened
        self._storage = storage
        self._starter = starter
        self._devices = dict(enumerate(devices, start=1))
        self._options = options
        self._stop = stop
        self._end = None if options.timeout is None else time.monotonic() + options.timeout
        self._policy = RestartPolicy()
        self._members: dict[int, _Member] = {}
        self._trials = dict.fromkeys(self._devices, 0)
        self._failure: GlossTuneError | None = None
        self._code_of_others: int = ExitCode.DONE
        self._asked_to_leave = False
        self._ordered: StopOrder | None = None
        self._kill_at: float | None = None
        self._killed = False
        self._watch = watch

    def run(self) -> int:
        self._stop.served = True
        try:
            logger.info("Starting %s%s.", count(len(self._devices), "worker"), self._where())
            for worker in self._devices:
                self._start(worker)
            while self._members or self._policy.waiting or (not self._ending and self._watch.deciding):
                self._poll()
        finally:
            for member in self._members.values():  # only after an error of our own: they leave by themselves
                member.connection.close()
            self._stop.served = False
            now = self._watch.close(_MARGIN_SECONDS)
        return self._leave(now)

    @property
    def _ending(self) -> bool:
        """Whether the workers were told to leave, so that none is started again."""
        return self._ordered is not None or self._asked_to_leave

    def _poll(self) -> None:
        """One round: receive what workers send, forward signals, handle exits, restart."""
        watched: list[Any] = [member.connection for member in self._members.values() if not member.silent]
        watched += [member.process.sentinel for member in self._members.values()]
        if watched:
            wait(watched, _LOOK_SECONDS)
        else:
            time.sleep(_LOOK_SECONDS)
        self._forward_signal()
        if self._watch.failure is not None:
            self._stop_for(self._watch.failure)
        for worker, member in list(self._members.items()):
            self._receive(worker, member)
            if member.process.exitcode is not None:
                self._receive(worker, member)  # what it sent between the last poll and its exit
                self._handle_exit(worker, member)
        self._kill_overdue()
        if not self._watch.away:
            for worker in self._policy.start_due():
                self._start(worker)
        if not self._ending and (further := self._watch.take_further()):
            self._add(further)

    def _add(self, devices: Sequence[str]) -> None:
        """More workers than the group began with."""
        logger.info("Starting %s.", count(len(devices), "more worker"))
        for worker, device in enumerate(devices, start=len(self._devices) + 1):
            self._devices[worker] = device
            self._trials[worker] = 0
            self._start(worker)

    def _start(self, worker: int) -> None:
        if self._stop.begins_nothing or (self._end is not None and time.monotonic() >= self._end):
            return
        left = self._options.max_trials
        options = replace(
            self._options,
            device=self._devices[worker],
            timeout=None if self._end is None else self._end - time.monotonic(),
            max_trials=None if left is None else left - self._trials[worker],
        )
        order = Order(worker, self._storage, self._opened.name, options)
        try:
            process, connection = self._starter.start(work_for_parent, order)
        except StartAbandonedError:
            return
        except (OSError, EOFError) as error:
            why = limit_reached(error) or f"{type(error).__name__}: {error}"
            self._handle_death(worker, f"could not be started ({why})")
            return
        self._members[worker] = _Member(process, connection)
        self._policy.started(worker)

    def _receive(self, worker: int, member: _Member) -> None:
        try:
            while not member.silent and member.connection.poll():
                message = member.connection.recv()
                if isinstance(message, TrialFinished):
                    self._trials[worker] += 1
                    self._policy.progressed(worker)
                    self._watch.trial_finished()
                elif isinstance(message, Leaving):
                    member.leaving = message
        except (EOFError, OSError):  # its exit code will tell the rest
            member.silent = True

    def _handle_exit(self, worker: int, member: _Member) -> None:
        """A worker's process has ended."""
        del self._members[worker]
        member.connection.close()  # should the exit code be a dead server's, the worker lives: this ends it
        exit_code = member.process.exitcode
        assert exit_code is not None
        pid = member.process.pid
        member.process.join()
        member.process.close()
        leaving = member.leaving or _infer_leaving(exit_code)
        if leaving.why is Why.crashed:
            self._handle_death(worker, leaving.reason, pid)
        elif leaving.why is Why.stopped and self._ordered is None:
            self._code_of_others = exit_code
        elif leaving.why is Why.left:
            self._code_of_others = self._code_of_others or ExitCode.WORK_LEFT
        elif leaving.why is Why.wrong_input:
            self._stop_for(InputError(leaving.reason))
        elif leaving.why is Why.gave_up:
            if self._members and (self._failure is None or str(self._failure) != leaving.reason):
                logger.warning("Worker %d gives up: %s", worker, leaving.reason)
            self._fail(leaving.reason, leaving.exit_code)

    def _handle_death(self, worker: int, reason: str, pid: int | None = None) -> None:
        self._watch.requeue(pid)
        if self._ending:
            if not self._killed:
                logger.warning("Worker %d: %s.", worker, reason)
            return
        pause = self._policy.died(worker)
        if pause is None:
            logger.warning("Worker %d: %s. It is not started again.", worker, reason)
            self._fail(
                f"Worker {worker} died {MOST_DEATHS} times without finishing a trial, at last so: {reason}. "
                "Trials still wait under their own numbers. Fix the cause and launch again"
            )
        else:
            logger.warning("Worker %d: %s. Starting it again in %.0f s.", worker, reason, pause)

    def _fail(self, reason: str, exit_code: int = ExitCode.FAILED) -> None:
        """One worker will not go on; the others may still finish the study, which then counts."""
        if self._failure is None:
            self._failure = GlossTuneError(reason)
            self._failure.exit_code = exit_code

    def _stop_for(self, error: GlossTuneError) -> None:
        """No worker can go on."""
        if not isinstance(self._failure, InputError):
            self._failure = error
        self._stop_workers(StopOrder(signal.SIGTERM, at_once=False))

    def _forward_signal(self) -> None:
        if self._stop.signum is not None:
            self._stop_workers(StopOrder(self._stop.signum, self._stop.at_once))
        elif self._stop.asked and not self._asked_to_leave:
            self._asked_to_leave = True
            self._policy.stop()
            logger.info(
                "SIGUSR1: %s will leave after the epoch at hand.", count(len(self._members), "worker")
            )
            self._send_all(LeaveOrder())

    def _stop_workers(self, order: StopOrder) -> None:
        """Stop all workers, and start none again; what was ordered before is only ever made more urgent."""
        if self._ordered is not None and (self._ordered.at_once or not order.at_once):
            return
        self._policy.stop()
        self._ordered = order
        patience = _MARGIN_SECONDS + (0 if order.at_once else self._options.grace)
        self._kill_at = time.monotonic() + patience
        workers = count(len(self._members), "worker")
        if self._members and order.at_once:
            logger.info("Stopping %s at once.", workers)
        elif self._members:
            logger.info(
                "Waiting for %s to finish %s epoch, at most %g s%s.",
                workers,
                "its" if len(self._members) == 1 else "their",
                self._options.grace,
                "" if self._stop.signum is None else "; once more to stop at once",
            )
        self._send_all(order)

    def _send_all(self, order: StopOrder | LeaveOrder) -> None:
        for member in self._members.values():
            with contextlib.suppress(OSError):  # it is ending by itself
                member.connection.send(order)

    def _kill_overdue(self) -> None:
        if self._kill_at is None or time.monotonic() < self._kill_at:
            return
        self._kill_at = time.monotonic() + _AFTER_KILL_SECONDS
        if self._killed:
            logger.warning("Nobody tells whether the workers have ended; leaving without them.")
            end_server()
            return
        self._killed = True
        for worker, member in self._members.items():
            logger.warning("Worker %d has not stopped in time; killing it.", worker)
            member.process.kill()

    def _leave(self, now: dict[str, int] | None) -> int:
        if now is not None:
            logger.info("%s", _summary(self._opened, now))
        if self._stop.signum is not None:
            return self._stop.exit_code
        done = now is not None and not now["waiting"] + now["running"]
        failure = self._failure or self._watch.failure  # which the last look may have found
        if failure is not None and (isinstance(failure, InputError) or not done):
            raise failure
        if now is not None and not done and self._watch.steering is Steering.stopped:
            logger.info("%s", _stopped(self._opened, now))
            return ExitCode.DONE
        if done or (now is not None and self._options.leave_when_empty and not now["waiting"]):
            return ExitCode.DONE
        return self._code_of_others or (ExitCode.WORK_LEFT if self._stop.asked else ExitCode.DONE)

    def _where(self) -> str:
        if self._opened.spec.rehearse:
            return " for a rehearsal"
        named = ("the first device found" if name == "auto" else name for name in self._devices.values())
        return f" on {', '.join(dict.fromkeys(named))}"


def _infer_leaving(exit_code: int) -> Leaving:
    """What a worker that could not say it itself would have said."""
    if exit_code in _AFTER_SIGNALS:  # it was stuck, and its thread ended it
        return Leaving(Why.stopped)
    return Leaving(Why.crashed, why_ended(exit_code))


def _stopped(opened: OpenStudy, now: dict[str, int]) -> str:
    return f"It is stopped, {count(now['waiting'], 'trial')} waiting; {how_to_resume(opened.name)}."


def _summary(opened: OpenStudy, now: dict[str, int]) -> str:
    return (
        f"Study {opened.name}: {finished_of(now)} of {now['budget']} trials finished "
        f"({now['complete']} complete, {now['pruned']} pruned, {now['failed']} failed)."
    )
