"""A worker that ``launch`` started: it takes its parent's orders, outlives it by one epoch, says why it leaves.

Parent and child talk through one pipe that nobody else sees. To the child go orders to stop; to the parent go
:class:`TrialFinished` after each trial and one :class:`Leaving` at the end. A pipe that closes means that the parent
has died.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from enum import Enum
from multiprocessing.connection import Connection

from gloss_tune.errors import ExitCode, GlossTuneError, InputError, MachineError, StorageAwayError
from gloss_tune.limits import limit_reached
from gloss_tune.logging import configure, logger
from gloss_tune.signals import StopFlag, stop_on_signal
from gloss_tune.storage.sqlstate import outage, refusal
from gloss_tune.workers.entry import serve
from gloss_tune.workers.options import WorkerOptions

# Slurm and systemd signal every process of a job: that and the parent's order are one notice, not two
_ONE_NOTICE_SECONDS = 1.0


@dataclass(frozen=True)
class Order:
    """What a worker is to do.

    Args:
        worker: its number in the group, from 1.
        storage: the study's database, with its password.
        study: the study's name.
        options: how to work.
    """

    worker: int
    storage: str
    study: str
    options: WorkerOptions


@dataclass(frozen=True)
class StopOrder:
    """Stop as on this signal; ``at_once`` without finishing the epoch."""

    signum: int
    at_once: bool


@dataclass(frozen=True)
class LeaveOrder:
    """Leave after this epoch, however long it takes."""


@dataclass(frozen=True)
class TrialFinished:
    """The worker has finished one more trial."""


class Why(str, Enum):
    """Why a worker leaves."""

    done = "done"  # no trial left, or its limit reached
    stopped = "stopped"  # by a signal
    left = "left"  # as it was asked to, with work remaining
    gave_up = "gave up"  # an error that every worker of the study would meet again
    wrong_input = "wrong input"  # this machine's data, encoder or device
    crashed = "crashed"


@dataclass(frozen=True)
class Leaving:
    """A worker's last message.

    Args:
        why: it leaves.
        reason: in words, of an error.
        exit_code: of that error.
    """

    why: Why
    reason: str = ""
    exit_code: int = ExitCode.FAILED


def work_for_parent(order: Order, connection: Connection) -> None:
    """The life of the child's process."""
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C in a terminal is the parent's, which passes it on
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal's end is the parent's affair
    configure(prefix=f"worker {order.worker}: ")
    with stop_on_signal(last=True, one_notice=_ONE_NOTICE_SECONDS) as stop:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the process that forks us blocks them
        threading.Thread(target=_receive_orders, args=(connection, stop), name="orders", daemon=True).start()
        leaving = _work(order, connection, stop)
        _send(connection, leaving)
    sys.exit(_exit_code(leaving, stop))


def _exit_code(leaving: Leaving, stop: StopFlag) -> int:
    known = {Why.done: ExitCode.DONE, Why.stopped: stop.exit_code, Why.left: ExitCode.WORK_LEFT}
    return known.get(leaving.why, ExitCode.FAILED)


def _work(order: Order, connection: Connection, stop: StopFlag) -> Leaving:
    try:
        code = serve(
            order.storage, order.study, order.options, stop, lambda: _send(connection, TrialFinished())
        )
    except StorageAwayError as error:  # the parent opened this storage: it will be back
        return Leaving(Why.crashed, str(error))
    except InputError as error:
        return Leaving(Why.wrong_input, str(error))
    except MachineError as error:  # in a fresh process the device may compute again
        return Leaving(Why.crashed, str(error))
    except GlossTuneError as error:
        return Leaving(Why.gave_up, str(error), error.exit_code)
    except Exception as error:
        limit = limit_reached(error)
        if limit is not None:
            return Leaving(Why.crashed, limit)
        if (away := outage(error)) is not None:
            return Leaving(Why.crashed, f"the storage does not answer: {away}")
        if (refused := refusal(error)) is not None:
            return Leaving(
                Why.wrong_input, f"The storage does not do what was asked: {refused[0]}. Next: {refused[1]}"
            )
        logger.error("%s", traceback.format_exc())
        return Leaving(Why.crashed, f"{type(error).__name__}: {error}")
    if stop.signum is not None:
        return Leaving(Why.stopped)
    return Leaving(Why.left if code == ExitCode.WORK_LEFT else Why.done)


def _send(connection: Connection, message: object) -> None:
    with contextlib.suppress(OSError):  # the parent has died; the thread that receives its orders knows
        connection.send(message)


def _receive_orders(connection: Connection, stop: StopFlag) -> None:
    """Pass the parent's orders on to the flag, and its death."""
    while True:
        try:
            ordered: StopOrder | LeaveOrder = connection.recv()
        except (EOFError, OSError):
            if stop.signum is None:
                logger.warning("The process that launched this worker has ended; leaving too.")
                stop.set(signal.SIGTERM, one_notice=math.inf)
            return
        if isinstance(ordered, LeaveOrder):
            stop.asked = True
            continue
        stop.set(ordered.signum, one_notice=math.inf)
        if ordered.at_once:
            stop.set(ordered.signum)
