"""What a command writes to the user's ``--output``."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from gloss_tune import atomic
from gloss_tune.errors import InputError


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace ``path`` in one step; a pipe or device such as ``/dev/stdout`` is written to as it is.

    Raises:
        InputError: if it cannot be written; what was there stays.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not path.is_file():
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        else:
            atomic.write_whole(path, content)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another --output") from None
