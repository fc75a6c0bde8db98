"""Files that are either whole or not there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from gloss_tune.errors import InputError


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace ``path`` in one step.

    Raises:
        InputError: if it cannot be written; what was there stays.
    """
    data = content.encode() if isinstance(content, str) else content
    scratch = None
    try:
        descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        Path(scratch).chmod(0o666 & ~umask)
        Path(scratch).replace(path)
    except OSError as error:
        if scratch is not None:
            Path(scratch).unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another --output") from None
