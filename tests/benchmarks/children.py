"""Processes that a benchmark starts, talks to by lines, and ends when its time is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
_MARK = "@"


class Child:
    """A module of the benchmarks in a process of its own, which answers by :func:`reply`.

    Args:
        module: such as ``tests.benchmarks.authors``.
        argument: the one that the module is given.
        log: file for what it writes to stderr.
        threads: that it may compute with on the CPU.
    """

    def __init__(self, module: str, argument: Path, log: Path, threads: int) -> None:
        self._log = log
        paths = [str(_REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "OMP_NUM_THREADS": str(threads),
            "HF_HUB_OFFLINE": "1",
            "MPLBACKEND": "Agg",
        }
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, str(argument)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=_REPOSITORY,
                env=environment,
                start_new_session=True,  # so that what it starts ends with it
            )
        self._late = False

    def tell(self, line: str) -> None:
        """Send a line to its stdin."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._end() from None

    def listen(self) -> str:
        """Its next reply; whatever else it prints is passed over.

        Raises:
            RuntimeError: it has ended.
            TimeoutError: its time was over.
        """
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(_MARK):
                return line[len(_MARK) :].strip()
        raise self._end()

    def replies(self) -> Iterator[str]:
        """All replies until it ends well.

        Raises:
            RuntimeError: it has ended with an error.
            TimeoutError: its time was over.
        """
        while True:
            try:
                reply = self.listen()
            except RuntimeError:
                if self.process.wait() == 0:
                    return
                raise
            yield reply

    def stop(self, late: bool = False) -> None:
        """Kill it and what it has started, if it still runs; ``late`` says that its time was over."""
        if self.process.poll() is None:
            self._late = late
            with suppress(ProcessLookupError):  # it has just ended
                os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, if it still runs."""
        self.stop()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # a line that it never read
                pipe.close()
        self.process.wait()

    def _end(self) -> Exception:
        """Why it answers no more."""
        code = self.process.wait()
        if self._late:
            return TimeoutError("the time was over")
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        print(*lines[-40:], sep="\n", file=sys.stderr)
        return RuntimeError(f"a process ended with {code}: {lines[-1] if lines else 'no message'}")


@contextmanager
def children(
    module: str, argument: Path, logs: Path, *, count: int = 1, seconds: float, threads: int = 1
) -> Iterator[list[Child]]:
    """Some processes of one module, killed after ``seconds``, and at the end of the block in any case."""
    started: list[Child] = []
    timer = threading.Timer(seconds, lambda: [child.stop(late=True) for child in started])
    timer.daemon = True
    try:
        for number in range(count):
            log = logs / f"{module.rpartition('.')[2]}-{number}.log"
            started.append(Child(module, argument, log, threads))
        timer.start()
        yield started
    finally:
        timer.cancel()
        for child in started:
            child.close()


def reply(text: str) -> None:
    """What a child tells its parent."""
    print(_MARK + text, flush=True)
