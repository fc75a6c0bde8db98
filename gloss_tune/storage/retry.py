"""Wait for a storage that is away for a while, and go on: a restarted server must not cost a trial."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy.exc import IntegrityError

from gloss_tune.errors import GlossTuneError, MachineError, StorageLostError, StorageRefusedError
from gloss_tune.limits import files_used_up
from gloss_tune.logging import logger, redact
from gloss_tune.storage import schema
from gloss_tune.storage.sqlstate import is_unknown_host, outage, reason_of, refusal, sqlstate

Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")

#: How long workers wait for a storage: a server that is restarted, moved or repaired is back by then.
PATIENCE_SECONDS = 900.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_SLICE = 0.1
_SAY_AGAIN_SECONDS = 60.0


class Retry:
    """Repeats operations on a storage until they succeed, for as long as it is worth it.

    Args:
        name: of the storage, without its password.
        seconds: how long to wait in one go; 0 raises the first error, as commands that only look want it.
        must_leave: asked while waiting; True ends the wait at once.
        pause: most seconds between two tries; must be short against a lease, which begins anew when a server is back.
    """

    def __init__(
        self,
        name: str,
        seconds: float = 0.0,
        must_leave: Callable[[], bool] = lambda: False,
        pause: float = 5.0,
    ) -> None:
        self._seconds = seconds
        self._must_leave = must_leave
        self._name = name
        self._longest_pause = min(pause, _LONGEST_PAUSE)
        self._inside = threading.local()
        self._lock = threading.Lock()
        self._away_since: float | None = None
        self._said = 0.0
        self._given_up = self._answered = False

    def __call__(self, operation: Callable[[], Result]) -> Result:
        """Run ``operation``, which must do no harm when it is repeated after a success that nobody heard of.

        Raises:
            StorageLostError: the storage stayed away.
            MachineError: this process may open no more files.
            StorageRefusedError: it answers, and waiting would not help.
            GlossTuneError: the study was deleted.
        """
        if getattr(self._inside, "running", False):
            return operation()  # the outermost call repeats the whole transaction
        self._inside.running = True
        try:
            return self._repeat(operation) if self._seconds > 0 else operation()
        except Exception as error:
            if _is_gone(error):
                raise GlossTuneError(
                    f"Storage {self._name} no longer holds what this process works on: the study was deleted"
                ) from error
            refused = refusal(error)
            if refused is None:
                raise
            reason, advice = refused
            raise StorageRefusedError(
                f"Storage {self._name} refuses what is asked of it: {redact(reason)}. Next: {advice}"
            ) from error
        finally:
            self._inside.running = False

    def _repeat(self, operation: Callable[[], Result]) -> Result:
        start, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            try:
                result = operation()
            except Exception as error:
                reason = outage(error)
                if reason is None and self._answered and is_unknown_host(error):  # it moves, as in a failover
                    reason = reason_of(error)
                if reason is None:
                    raise
                if (
                    limit := files_used_up()
                ) is not None:  # no storage's trouble, and a fresh process has none of it
                    raise MachineError(limit) from error
                waited = time.monotonic() - start
                if self._given_up or waited >= self._seconds or self._must_leave():
                    self._given_up = True  # what is left to do, such as signing out, waits no more
                    raise StorageLostError(
                        f"Storage {self._name} has not answered for {waited:.0f} s ({reason}). Nothing that was "
                        "stored is lost: trials are requeued when their leases end; start workers again when it is back"
                    ) from error
                self._say_away(reason)
                self._sleep(pause)
                pause = min(2 * pause, self._longest_pause)
            else:
                self._given_up, self._answered = False, True
                self._say_back()
                return result

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._must_leave():
            time.sleep(_SLICE)

    def _say_away(self, reason: str) -> None:
        with self._lock:
            now = time.monotonic()
            if self._away_since is None:
                self._away_since = now
            elif now - self._said < _SAY_AGAIN_SECONDS:
                return
            self._said = now
            logger.warning("Storage %s does not answer (%s); waiting for it.", self._name, reason)

    def _say_back(self) -> None:
        if self._away_since is None:
            return
        with self._lock:
            if self._away_since is not None:
                away, self._away_since = time.monotonic() - self._away_since, None
                logger.warning("Storage %s answers again, after %.0f s.", self._name, away)


class HasRetry(Protocol):
    """A storage with a retry of its own."""

    retry: Retry


Storage = TypeVar("Storage", bound=HasRetry)


def retried(
    function: Callable[Concatenate[Storage, Parameters], Result],
) -> Callable[Concatenate[Storage, Parameters], Result]:
    """Let a storage's method, or a function whose first argument is a storage, wait as that storage does."""

    @functools.wraps(function)
    def waits(storage: Storage, /, *arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
        return storage.retry(lambda: function(storage, *arguments, **options))

    return waits


def _is_gone(error: Exception) -> bool:
    """Whether a row is missing that must be there: Optuna's words, and the databases' of a reference."""
    if isinstance(error, IntegrityError):
        return sqlstate(error) == "23503" or "foreign key" in str(error.orig).lower()
    return isinstance(error, KeyError) and error.args == (schema.NOT_FOUND,)
