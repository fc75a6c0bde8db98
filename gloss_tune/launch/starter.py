"""Processes that start at once: a server imports what workers need, and forks whenever one is wanted.

The server never touches a device, and a fork of it is a fresh process as far as CUDA is concerned.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

import psutil

from gloss_tune.errors import StartAbandonedError
from gloss_tune.launch.socket_folder import ensure_short_folder
from gloss_tune.signals import WATCHED
from gloss_tune.storage.url import parse_storage_url

_LOOK_SECONDS = 0.2
_ALWAYS = [
    "gloss_tune.launch.child",
    "gloss_tune.study.first_trials",
    "alembic.config",
    "alembic.migration",
    "alembic.script",
    "rich.console",
]
_DRIVERS = {
    "sqlite": ["sqlalchemy.dialects.sqlite"],
    "postgresql": ["sqlalchemy.dialects.postgresql", "psycopg"],
}
# with what transformers imports late, for the most frequent of encoders
_TRAINING = [
    "torch",
    "sentence_transformers",
    "gloss_tune.encoder.choice",
    "transformers.models.bert.modeling_bert",
    "gloss_tune.finetune.loop",
    "gloss_tune.workers.runs",
]


class Starter:
    """Starts processes of one group.

    Args:
        storage: the study's database.
        rehearsal: whether the workers train nothing, and so need no torch.
        must_leave: asked while a process is being started; True gives that up.
    """

    def __init__(self, storage: str, rehearsal: bool, must_leave: Callable[[], bool]) -> None:
        self._must_leave = must_leave
        self._context: BaseContext
        ensure_short_folder()
        if "forkserver" in multiprocessing.get_all_start_methods():
            self._context = multiprocessing.get_context("forkserver")
            driver = _DRIVERS[parse_storage_url(storage).get_backend_name()]
            self._context.set_forkserver_preload([*_ALWAYS, *driver, *([] if rehearsal else _TRAINING)])
            self._ensure_server = _ensure_server
        else:
            self._context = multiprocessing.get_context("spawn")
            self._ensure_server = lambda: None

    def start(self, target: Callable[..., None], *arguments: Any) -> tuple[BaseProcess, Connection]:
        """Start a process that calls ``target(*arguments, connection)``.

        Returns:
            The process, and the other end of its connection.

        Raises:
            StartAbandonedError: if the group was told to stop.
            OSError: if the process could not be started.
            EOFError: likewise.
        """
        started: Future[tuple[BaseProcess, Connection]] = Future()

        def start() -> None:
            try:
                started.set_result(self._start(target, arguments))
            except BaseException as error:
                started.set_exception(error)

        # in a thread, since nothing interrupts the wait for the server's imports
        threading.Thread(target=start, name="start-process", daemon=True).start()
        while not futures.wait([started], _LOOK_SECONDS).done:
            if self._must_leave():
                started.add_done_callback(_dismiss)
                raise StartAbandonedError
        return started.result()

    def _start(
        self, target: Callable[..., None], arguments: tuple[Any, ...]
    ) -> tuple[BaseProcess, Connection]:
        self._ensure_server()
        ours, theirs = self._context.Pipe()
        try:
            process: BaseProcess = self._context.Process(target=target, args=(*arguments, theirs))  # type: ignore[attr-defined]
            with _without_main():
                process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return process, ours


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """A child must not run the caller's script once more, as multiprocessing does to find what a script defines.

    All that a worker needs is importable; and a script that calls :meth:`gloss_tune.api.Study.run` at its top level
    would start its study over in every child.
    """
    main = sys.modules["__main__"]
    known = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    try:
        for name in known:
            setattr(main, name, None)
        yield
    finally:
        for name, value in known.items():
            setattr(main, name, value)


def _dismiss(started: Future[tuple[BaseProcess, Connection]]) -> None:
    """A process that came to life too late: closing its connection tells it to leave."""
    if started.exception() is None:
        started.result()[1].close()


def end_server() -> None:
    """Kill the server that forked the workers, for when it does not tell of their ends: then all their ends are known.

    Their exit codes are 255, unless it had told others.
    """
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(forkserver.__name__ in word for word in child.cmdline()):
                child.kill()


def _ensure_server() -> None:
    # signals for a whole process group or job must not end the server while workers finish their epochs
    with _signals_blocked():
        resource_tracker.ensure_running()  # as a side effect this unblocks some of them
        with _signals_blocked(), _without_main():
            forkserver.ensure_running()


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
