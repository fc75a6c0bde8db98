"""One worker: claim a trial, run it, tell its result, until the study's budget is used up."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gloss_tune.errors import ExitCode, GlossTuneError, StorageLostError, StudyStoppedError
from gloss_tune.faults import lost_device_told
from gloss_tune.jobs import this_job
from gloss_tune.logging import logger
from gloss_tune.processes import this_process
from gloss_tune.queue.budget import unfinished
from gloss_tune.queue.claims import Claim, claim, release
from gloss_tune.queue.heartbeats import WorkerEntry, beat_pause, unregister_worker
from gloss_tune.queue.steering import Steering, how_to_resume, read_steering
from gloss_tune.signals import StopFlag
from gloss_tune.storage.retry import PATIENCE_SECONDS
from gloss_tune.study.results import epoch_seconds
from gloss_tune.study.status import stop_reason
from gloss_tune.study.study import OpenStudy
from gloss_tune.wording import count
from gloss_tune.workers.artifacts.store import leave_marker, remove_marker
from gloss_tune.workers.artifacts.tidy import tidy
from gloss_tune.workers.attempt import Attempts
from gloss_tune.workers.lease import LeaseKeeper
from gloss_tune.workers.notice import Notice
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.runs import Runs, runs_of
from gloss_tune.workers.shutdown import Shutdown

_SHORTEST_WAIT = 0.2
_LONGEST_WAIT = 2.0
_UNEXPECTED_IN_A_ROW = 3
_BEATS_TO_REQUEUE = 3


def work(
    opened: OpenStudy,
    options: WorkerOptions,
    stop: StopFlag,
    on_trial: Callable[[], None] | None = None,
    runs: Runs | None = None,
) -> Worked:
    """Run trials until none is left, a limit is reached, or somebody asks the worker to leave.

    Args:
        opened: the study.
        options: how to work.
        stop: set by signals.
        on_trial: called after each trial, for progress.
        runs: what trials are run with; by default what the study asks for.

    Raises:
        InputError: if this machine's data set or encoder is not the study's.
        StudyStoppedError: if too many trials of the study have failed.
        StorageLostError: if the storage stayed away for a quarter of an hour.
        MachineError: if the device is lost, or full before a first trial; no trial fails for it.
        GlossTuneError: after three unexpected failures in a row.
    """
    leaves = options.leave_when_empty and not this_job().again
    nothing = _nothing_to_do(opened, _read_queue(opened), leaves)
    if nothing is not None:  # before data and encoder are loaded in vain
        return Worked(0, nothing, stop.exit_code)
    opened.optuna_study()  # a sampler of others' code may not be that of the study here
    worker = _Worker(opened, options, stop, runs or runs_of(opened, options))
    opened.storage.claimed_only = True
    try:
        return worker.work(on_trial or (lambda: None))
    finally:
        opened.storage.claimed_only = False


@dataclass(frozen=True)
class Worked:
    """What a worker did.

    Args:
        trials: how many it finished.
        why: it left, in words.
        exit_code: of its process.
    """

    trials: int
    why: str
    exit_code: int = ExitCode.DONE


class _Worker:
    def __init__(self, opened: OpenStudy, options: WorkerOptions, stop: StopFlag, runs: Runs) -> None:
        self._opened = opened
        self._options = options
        self._runs = runs
        self._stop = stop
        self._shutdown = Shutdown(stop, options.grace, self._requeue_now)
        self._deadline = None if options.timeout is None else time.monotonic() + options.timeout
        me = this_process()
        self.id = f"{me.host}-{me.pid}-{secrets.token_hex(2)}"
        job = this_job()
        entry = WorkerEntry(
            self.id, me.host, me.pid, runs.device, machine=me.machine, job=job.name, node=job.node
        )
        self._keeper = LeaseKeeper(opened, entry)
        known = None if options.until is None else epoch_seconds(opened)
        self._notice = Notice(stop, lambda: self._keeper.steering, options.until, known)
        self._attempts = Attempts(opened, options, runs, self._shutdown, self._notice, self._keeper)
        self._waits_for: str | None = None
        # who was in this place before may have been lost; that trial comes back when its lease ends, and needs somebody
        staying = opened.spec.lease + _BEATS_TO_REQUEUE * beat_pause(opened.spec.lease) if job.again else 0.0
        self._stays_until = time.monotonic() + staying
        opened.storage.retry_for(PATIENCE_SECONDS, lambda: self._shutdown.must_leave, lease=opened.spec.lease)

    def work(self, on_trial: Callable[[], None]) -> Worked:
        finished = unexpected = 0
        why = "a signal arrived"
        code: int = ExitCode.DONE
        try:
            with self._shutdown, self._keeper, self._marked():
                tidy(self._options.artifacts, self._opened)
                while (leaving := self._time_to_leave(finished)) is None:
                    claimed = self._claim()
                    if claimed is None:
                        queue = _read_queue(self._opened)
                        leaving = _nothing_to_do(self._opened, queue, self._leaves_when_empty)
                        if leaving is not None:
                            break
                        self._wait(queue)
                        continue
                    self._waits_for = None
                    with lost_device_told():
                        ending = self._attempts.run(claimed)
                    if ending is None:
                        continue
                    finished += 1
                    unexpected = unexpected + 1 if ending.unexpected else 0
                    on_trial()
                    if unexpected == _UNEXPECTED_IN_A_ROW:
                        raise GlossTuneError(
                            f"{unexpected} trials in a row failed in an unexpected way, the last one with: "
                            f"{ending.reason}. The worker stops; waiting trials are untouched. "
                            "See the traceback above"
                        )
                why = leaving
                code = self._code_for_leaving()
                tidy(self._options.artifacts, self._opened)
        except StorageLostError as error:
            if not self._shutdown.requested:
                raise
            logger.warning("%s", error)
        return Worked(finished, why, self._stop.exit_code or code)

    @contextlib.contextmanager
    def _marked(self) -> Iterator[None]:
        leave_marker(self._options.artifacts, self._opened.name, self.id)
        try:
            yield
        finally:
            remove_marker(self._options.artifacts, self._opened.name, self.id)

    def _claim(self) -> Claim | None:
        storage, study_id = self._opened.storage, self._opened.study_id
        self._opened.check_still_there()
        reason = stop_reason(self._opened)
        if reason is not None:
            raise StudyStoppedError(f"Study {self._opened.name!r} is stopped: {reason}")
        if not self._runs.loaded:
            if not unfinished(storage, study_id)[0]:
                return None
            self._runs.load()  # may fail for what others do on the device, which is no trial's failure
            if self._stop.begins_nothing:
                return None
        return claim(storage, study_id, self.id)

    def _requeue_now(self) -> None:
        """From the shutdown's thread, when this one does not leave in time."""
        claimed = self._keeper.claimed
        if claimed is not None:
            release(self._opened.storage, claimed)
        unregister_worker(self._opened.storage, self._opened.study_id, self.id)

    def _time_to_leave(self, finished: int) -> str | None:
        """Why to leave before the study's end, in words; None to go on."""
        if self._shutdown.requested:
            return "a signal arrived"
        if self._options.max_trials is not None and finished >= self._options.max_trials:
            return "its limit is reached (--max-trials)"
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "its time is over (--timeout)"
        return self._notice.leaves()

    @property
    def _leaves_when_empty(self) -> bool:
        return self._options.leave_when_empty and time.monotonic() >= self._stays_until

    def _code_for_leaving(self) -> int:
        """Of a worker that leaves on request, with or without work remaining."""
        if self._notice.leaves() is None:
            return ExitCode.DONE
        nothing = _nothing_to_do(self._opened, _read_queue(self._opened), self._leaves_when_empty)
        return ExitCode.WORK_LEFT if nothing is None else ExitCode.DONE

    def _wait(self, queue: _Queue) -> None:
        """Wait a little: others run and one may be lost, or the study is paused. Says so once."""
        waits_for = self._blocked_by(queue)
        if waits_for is not None and waits_for != self._waits_for:
            self._waits_for = waits_for
            logger.info("%s", waits_for)
        end = time.monotonic() + min(max(self._opened.spec.lease / 10, _SHORTEST_WAIT), _LONGEST_WAIT)
        while time.monotonic() < end and not self._stop.begins_nothing and self._notice.leaves() is None:
            time.sleep(0.05)

    def _blocked_by(self, queue: _Queue) -> str | None:
        """Why there is no trial to claim, in words; None where one waits and was claimed by another."""
        name = self._opened.name
        if queue.steering is Steering.paused:
            return (
                f"Study {name} is paused; waiting. 'gloss-tune resume --study {name}' lets its workers go on."
            )
        if queue.waiting:
            return None
        return "Trials are still running elsewhere; staying in case a worker is lost."


@dataclass(frozen=True)
class _Queue:
    """What is left of a study's budget, and what is asked of its workers."""

    waiting: int
    running: int
    steering: Steering | None


def _read_queue(opened: OpenStudy) -> _Queue:
    waiting, running = unfinished(opened.storage, opened.study_id)
    return _Queue(waiting, running, read_steering(opened.storage, opened.study_id))


def _nothing_to_do(opened: OpenStudy, queue: _Queue, leave_when_empty: bool) -> str | None:
    """Why a worker is of no use here, in words; None if there is work, or may still be."""
    if not queue.waiting and not queue.running:
        return "no trial is left"
    if queue.steering is Steering.stopped:
        return f"study {opened.name} is stopped, {count(queue.waiting, 'trial')} waiting; {how_to_resume(opened.name)}"
    if leave_when_empty and not queue.waiting:
        return f"no trial waits, {queue.running} still run elsewhere (--leave-when-empty)"
    return None
