"""One worker: claim a trial, run it, tell its result, until the study's budget is used up."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from gloss_tune.errors import GlossTuneError, StorageLostError, StudyStoppedError
from gloss_tune.faults import lost_device_told
from gloss_tune.logging import logger
from gloss_tune.processes import this_process
from gloss_tune.queue.budget import unfinished
from gloss_tune.queue.claims import Claim, claim, release
from gloss_tune.queue.heartbeats import WorkerEntry, unregister_worker
from gloss_tune.signals import StopFlag
from gloss_tune.storage.retry import PATIENCE_SECONDS
from gloss_tune.study.status import stop_reason
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.artifacts.store import leave_marker
from gloss_tune.workers.artifacts.tidy import tidy
from gloss_tune.workers.attempt import Attempts
from gloss_tune.workers.lease import LeaseKeeper
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.runs import Runs, runs_of
from gloss_tune.workers.shutdown import Shutdown

_SHORTEST_WAIT = 0.2
_LONGEST_WAIT = 2.0
_UNEXPECTED_IN_A_ROW = 3


def work(
    opened: OpenStudy,
    options: WorkerOptions,
    stop: StopFlag,
    on_trial: Callable[[], None] | None = None,
    runs: Runs | None = None,
) -> int:
    """Run trials until none is left, a limit is reached, or a signal arrives.

    Args:
        opened: the study.
        options: how to work.
        stop: set by signals.
        on_trial: called after each trial, for progress.
        runs: what trials are run with; by default what the study asks for.

    Returns:
        How many trials this worker finished.

    Raises:
        InputError: if this machine's data set or encoder is not the study's.
        StudyStoppedError: if too many trials of the study have failed.
        StorageLostError: if the storage stayed away for a quarter of an hour.
        MachineError: if the device is lost, or full before a first trial; no trial fails for it.
        GlossTuneError: after three unexpected failures in a row.
    """
    worker = _Worker(opened, options, stop, runs or runs_of(opened, options))
    opened.storage.claimed_only = True
    try:
        return worker.work(on_trial or (lambda: None))
    finally:
        opened.storage.claimed_only = False


class _Worker:
    def __init__(self, opened: OpenStudy, options: WorkerOptions, stop: StopFlag, runs: Runs) -> None:
        self._opened = opened
        self._options = options
        self._runs = runs
        self._shutdown = Shutdown(stop, options.grace, self._requeue_now)
        self._deadline = None if options.timeout is None else time.monotonic() + options.timeout
        me = this_process()
        self.id = f"{me.host}-{me.pid}-{secrets.token_hex(2)}"
        entry = WorkerEntry(self.id, me.host, me.pid, runs.device, machine=me.machine)
        self._keeper = LeaseKeeper(opened, entry)
        self._attempts = Attempts(opened, options, runs, self._shutdown, self._keeper)
        self._waits = False
        opened.storage.retry_for(PATIENCE_SECONDS, lambda: self._shutdown.must_leave, lease=opened.spec.lease)

    def work(self, on_trial: Callable[[], None]) -> int:
        finished = unexpected = 0
        try:
            with self._shutdown, self._keeper:
                leave_marker(self._options.artifacts, self._opened.name)
                tidy(self._options.artifacts, self._opened)
                while not self._time_to_leave(finished):
                    claimed = self._claim()
                    if claimed is None:
                        if not self._wait_for_others():
                            break
                        continue
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
                tidy(self._options.artifacts, self._opened)
        except StorageLostError as error:
            if not self._shutdown.requested:
                raise
            logger.warning("%s", error)
        return finished

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
            if self._shutdown.requested:
                return None
        return claim(storage, study_id, self.id)

    def _requeue_now(self) -> None:
        """From the shutdown's thread, when this one does not leave in time."""
        claimed = self._keeper.claimed
        if claimed is not None:
            release(self._opened.storage, claimed)
        unregister_worker(self._opened.storage, self._opened.study_id, self.id)

    def _time_to_leave(self, finished: int) -> bool:
        if self._shutdown.requested:
            return True
        if self._options.max_trials is not None and finished >= self._options.max_trials:
            return True
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _wait_for_others(self) -> bool:
        """Wait a little while others run, since one may be lost and leave its trial; False if none does."""
        waiting, running = unfinished(self._opened.storage, self._opened.study_id)
        if not waiting and not running:
            return False
        if not self._waits:
            self._waits = True
            logger.info(
                "%d trial%s still running elsewhere; staying in case one is lost.",
                running,
                " is" if running == 1 else "s are",
            )
        end = time.monotonic() + min(max(self._opened.spec.lease / 10, _SHORTEST_WAIT), _LONGEST_WAIT)
        while time.monotonic() < end and not self._shutdown.requested:
            time.sleep(0.05)
        return True
