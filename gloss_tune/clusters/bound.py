"""``python -m gloss_tune.clusters.bound PARENT COMMAND …``: becomes a command of gloss-tune that ends with its parent.

The parent is an engine's process, which may be killed at any time. On Linux the kernel then sends the command a
SIGTERM; elsewhere it goes on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from gloss_tune.errors import ExitCode

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Bind this process to its parent's life, and become the command."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it ended before the kernel was asked
        sys.exit(ExitCode.SIGNALLED + signal.SIGTERM)
    os.execv(sys.executable, [sys.executable, "-m", "gloss_tune", *command])


if __name__ == "__main__":
    main()
