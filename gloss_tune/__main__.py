"""The command ``gloss-tune``, also as ``python -m gloss_tune``: listens to signals before it imports anything."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn

_WORK_LEFT, _SIGNALLED = 75, 128  # ExitCode's, which is not imported yet


def main() -> None:
    """Run the command line; a signal that comes during its imports is heard."""
    listen_from_the_start()
    from gloss_tune.cli import main as run

    run()


def listen_from_the_start() -> None:
    """Until a command listens itself, leave on signals as it would: nothing was begun.

    SIGUSR1 asks a worker to leave, and must not kill it while it starts. The kernel drops other signals to process 1 of
    a container for as long as that has no handler; everywhere else they end the process without our help.
    """
    names = ["SIGUSR1", *(["SIGTERM", "SIGHUP"] if os.getpid() == 1 else [])]
    for signum in (getattr(signal, name) for name in names if hasattr(signal, name)):
        if signal.getsignal(signum) == signal.SIG_DFL:
            signal.signal(signum, _leave)


def _leave(signum: int, _frame: FrameType | None) -> NoReturn:
    asked = signum == getattr(signal, "SIGUSR1", None)
    os._exit(_WORK_LEFT if asked else _SIGNALLED + signum)


if __name__ == "__main__":
    main()
