"""The launching process's view of the study, kept by a thread: a storage that does not answer delays no signal."""

from __future__ import annotations

import threading
import time

from gloss_tune.errors import GlossTuneError, StorageLostError
from gloss_tune.launch.density import Density
from gloss_tune.logging import logger
from gloss_tune.queue.steering import Steering, read_steering
from gloss_tune.storage.retry import PATIENCE_SECONDS
from gloss_tune.storage.sqlstate import outage
from gloss_tune.study.status import finished_of, trial_counts
from gloss_tune.study.study import OpenStudy

_PAUSE = 2.0
_BETWEEN_LINES = 3.0


class StudyWatch:
    """Counts the study's trials every two seconds, says the progress, and requeues what dead workers left.

    It also finds out how many workers the group may have, where finished trials tell. While the storage is away it
    says so once and keeps asking.

    Args:
        opened: the study; used by this thread alone from now on.
        counts: of its trials, as they are now.
        density: chooses further workers; used by this thread alone, too. None if there will be none.
    """

    def __init__(self, opened: OpenStudy, counts: dict[str, int], density: Density | None = None) -> None:
        self._opened = opened
        self._counts = counts
        self._density = density
        self._trials_told = self._trials_considered = 0
        self._further: list[str] = []
        self._away_since: float | None = None
        self._lost = False
        self._children: list[int] = []
        self.failure: GlossTuneError | None = None
        self._steering: Steering | None = None
        self._said = (finished_of(counts), time.monotonic())
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="study-watch", daemon=True)
        self._thread.start()

    @property
    def steering(self) -> Steering | None:
        """What is asked of the study's workers, as of the last look."""
        return self._steering

    @property
    def away(self) -> bool:
        """Whether the storage did not answer when it was last asked."""
        return self._away_since is not None

    def requeue(self, pid: int | None) -> None:
        """A worker has died: let its trial wait again soon, or as soon as the storage answers.

        Args:
            pid: its process, None if it never had one.
        """
        if pid is not None:
            self._children.append(pid)
        self._lost = True
        self._wake.set()

    def trial_finished(self) -> None:
        """A worker of the group has finished a trial: find out soon whether more workers may join."""
        if self._density is not None and not self._density.settled:
            self._trials_told += 1
            self._wake.set()

    @property
    def deciding(self) -> bool:
        """Whether further workers may come, without any more trial: the group's only worker may have left."""
        # in the reverse of the thread's order: what it decides in between is then seen as further workers
        considering = self._trials_considered < self._trials_told
        return (considering and not self.away) or bool(self._further)

    def take_further(self) -> list[str]:
        """The devices of workers to add, each told once."""
        further, self._further = self._further, []
        return further

    def close(self, timeout: float) -> dict[str, int] | None:
        """Look once more and end.

        Args:
            timeout: seconds to wait for a storage that is away.

        Returns:
            The counts as they are now, None if the storage did not tell.
        """
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout)
        return None if self.away or self.failure or self._thread.is_alive() else self._counts

    def _watch(self) -> None:
        last = False
        while not last and self.failure is None:
            last = self._stop.is_set()
            try:
                self._check()
            except GlossTuneError as error:  # deleted, or refused: asking again does not mend it
                self.failure = error
            except Exception as error:  # whatever it is, the workers go on and need looking after
                self._cannot_check(error)
            else:
                if self.away:
                    logger.info("The storage answers again.")
                self._away_since = None
            if not last:
                self._wake.wait(_PAUSE)
                self._wake.clear()
        self._opened.storage.remove_session()

    def _cannot_check(self, error: Exception) -> None:
        reason = outage(error) or f"{type(error).__name__}: {error}"
        now = time.monotonic()
        if self._away_since is None:
            logger.warning("The storage does not answer (%s); asking again.", reason)
            self._away_since = now
        elif now - self._away_since >= PATIENCE_SECONDS:
            self.failure = StorageLostError(
                f"Storage {self._opened.storage.redacted_url} has not answered for {now - self._away_since:.0f} s "
                f"({reason}). Nothing that was stored is lost; launch again when it is back"
            )

    def _check(self) -> None:
        self._opened.check_still_there()
        if self._lost:
            self._lost = False
            try:
                self._opened.requeue_lost(only_gone=True, children=self._children)
            except BaseException:
                self._lost = True
                raise
        self._counts = now = trial_counts(self._opened)
        self._steering = read_steering(self._opened.storage, self._opened.study_id)
        if self._trials_considered < self._trials_told and not self._stop.is_set():
            self._grow(now["waiting"] + now["running"])
        finished, since = finished_of(now), time.monotonic() - self._said[1]
        if finished > self._said[0] and since > _BETWEEN_LINES and not self._stop.is_set():
            say_progress(self._opened, now)
            self._said = (finished, time.monotonic())

    def _grow(self, left: int) -> None:
        """May more workers join? Measuring takes seconds, in which nothing else is looked at."""
        assert self._density is not None
        told = self._trials_told
        if left and not self._density.settled:
            self._further = self._density.grow(self._opened, left)
        self._trials_considered = told


def say_progress(opened: OpenStudy, counts: dict[str, int]) -> None:
    """One line for people."""
    logger.info("Study %s: %d of %d trials finished.", opened.name, finished_of(counts), counts["budget"])
