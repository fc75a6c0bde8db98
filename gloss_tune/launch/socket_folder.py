"""A folder for the sockets of multiprocessing: their paths may have about a hundred bytes, and TMPDIR may have more."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable
from multiprocessing.util import get_temp_dir
from pathlib import Path

from gloss_tune.errors import InputError

# with the final zero; macOS and the BSDs have four bytes less
_LONGEST_ADDRESS = 108 if sys.platform == "linux" else 104
# what multiprocessing appends to the folder for temporary files
_LONGEST_NAME = len("/pymp-xxxxxxxx/listener-xxxxxxxx") + 1
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/run/user/{uid}", ".")


def ensure_short_folder(candidates: Iterable[str] = _SHORT_FOLDERS) -> None:
    """Have multiprocessing keep its sockets where their paths fit, whatever TMPDIR says.

    It asks for its folder once in a process: as soon as it has one, that stays, also for the processes it starts.

    Args:
        candidates: folders to try where the one for temporary files is too deep.

    Raises:
        InputError: if none of them is short enough and can be written to.
    """
    if not hasattr(os, "getuid") or _fits(tempfile.gettempdir()):
        return
    before = tempfile.tempdir
    for candidate in candidates:
        folder = str(Path(candidate.format(uid=os.getuid())).absolute())
        if not _fits(folder):
            continue
        tempfile.tempdir = folder
        try:
            get_temp_dir()  # removed with this process
        except OSError:
            continue
        else:
            return
        finally:
            tempfile.tempdir = before
    raise InputError(
        f"The folder for temporary files is too deep for a socket: at most {_LONGEST_ADDRESS - _LONGEST_NAME} bytes, "
        f"got {tempfile.gettempdir()}; set TMPDIR to a shorter path"
    )


def _fits(folder: str) -> bool:
    return len(os.fsencode(folder)) + _LONGEST_NAME <= _LONGEST_ADDRESS
