"""Files and folders that are either whole or not there, whoever is killed and whatever disk runs full.

What is written stands beside its place, under a hidden name that ends in ``.part``, until it is whole; a rename
then puts it there in one step. Only a killed process leaves such a part behind: whoever owns the folder removes it.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

#: How the names of unfinished files and folders end.
PART = ".part"
#: Permissions of what nobody but its owner may read.
OWNER_ALONE = 0o600
# some file systems cannot flush a folder; that the rename is done there is all that can be had
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP)


@contextmanager
def whole_file(path: Path, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file to fill: it replaces ``path`` when the block ends, and is removed when the block raises.

    Both the content and the new name survive a power cut after the block.

    Args:
        path: the file to write; its folder must exist.
        mode: the most that anyone may do with it, from its first byte on; ordinary permissions by default.

    Raises:
        OSError: it cannot be written, or the disk is full; ``path`` is as it was before.
    """
    part = part_beside(path)
    try:
        # not by tempfile: its files are closed to the user's group
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace ``path`` in one step; text becomes UTF-8.

    Raises:
        OSError: it cannot be written, or the disk is full; ``path`` is as it was before.
    """
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_secret(path: Path, content: str) -> Path:
    """Replace a file in one step by one that its owner alone may read, from its first byte on."""
    with whole_file(path, mode=OWNER_ALONE) as file:
        os.fchmod(file.fileno(), OWNER_ALONE)  # an odd umask takes nothing from the owner
        file.write(content.encode())
    return path


@contextmanager
def whole_folder(path: Path, label: str = "") -> Iterator[Path]:
    """A folder to fill: it becomes ``path`` when the block ends, and is removed when the block raises.

    Its files get ordinary permissions, whatever library wrote them.

    Args:
        path: the folder to make; its parent must exist, and itself no more when the block ends.
        label: stands in the unfinished folder's name, for whoever has to judge one that was left behind.

    Raises:
        OSError: it cannot be written, the disk is full, or ``path`` exists.
    """
    part = part_beside(path, label)
    try:
        part.mkdir()
        readable = part.stat().st_mode & 0o666
        yield part
        for folder, _, files in os.walk(part):
            for name in files:
                with Path(folder, name).open("r+b") as file:
                    os.fsync(file.fileno())
                Path(folder, name).chmod(readable)  # safetensors closes its files to the user's group
            _sync(Path(folder))
        part.rename(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    _sync(path.parent)


def part_beside(path: Path, label: str = "") -> Path:
    """A new name for what shall become ``path``: in the same folder, since only there a rename is one step."""
    return path.with_name(f".{path.name}{label}.{secrets.token_hex(4)}{PART}")


def _sync(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where folders can be opened (not on Windows)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)
