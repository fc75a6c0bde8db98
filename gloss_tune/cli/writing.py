"""What a command writes to the user's ``--output``."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from gloss_tune import atomic
from gloss_tune.errors import InputError


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace ``path`` in one step; a pipe or device such as ``/dev/stdout`` is written to as it is.

    Raises:
        InputError: if it cannot be written; what was there stays.
    """
    with _refused_as_input(path):
        if path.exists() and not path.is_file():
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        else:
            atomic.write_whole(path, content)


@contextmanager
def whole_text(path: Path) -> Iterator[TextIO]:
    """The same for text that comes bit by bit: the file is replaced when the block ends, not when it raises.

    Raises:
        InputError: if it cannot be written; what was there stays.
    """
    with _refused_as_input(path):
        if path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8", newline="") as pipe:
                yield pipe
            return
        with atomic.whole_file(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
            yield text
            text.detach()


@contextmanager
def _refused_as_input(path: Path) -> Iterator[None]:
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another --output") from None
