"""What holds a path: which file system, how much room, and whether one can write there. Nothing here leaves a trace."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

#: Kinds on which several machines see the same files, and on which SQLite's locks cannot be relied on.
_NETWORK_KINDS = frozenset(
    (
        *("nfs", "nfs3", "nfs4", "afs", "auristorfs", "coda", "ncpfs", "afpfs"),
        *("cifs", "smb", "smb2", "smb3", "smbfs", "davfs", "davfs2", "webdav", "sshfs"),
        *("lustre", "beegfs", "fhgfs", "gpfs", "panfs", "wekafs", "orangefs", "pvfs2"),
        *("ceph", "ceph-fuse", "glusterfs", "moosefs", "mfs", "lizardfs", "seaweedfs", "juicefs"),
        *("gfs", "gfs2", "ocfs2", "acfs"),  # several machines on one disk
        *("s3fs", "goofys", "mount-s3", "gcsfuse", "rclone"),  # stores of objects, shown as files
    )
)
#: Bytes; a study fills what is less within hours.
LITTLE_SPACE = 200 * 10**6

Mount = tuple[str, str]
"""Mount point and kind of file system."""


def network_filesystem(path: Path, mounts: Iterable[Mount] | None = None) -> str | None:
    """The kind of network file system that holds a path, such as ``nfs4``.

    Args:
        path: need not exist yet.
        mounts: what is mounted where, later mounts over earlier ones; by default as on this machine.

    Returns:
        None where the file system is local, or where that cannot be told.
    """
    kind = filesystem_kind(path, mounts)
    if kind is None:
        return None
    bare = kind.lower().removeprefix("fuse.").removeprefix("fuseblk.")
    return kind if bare in _NETWORK_KINDS else None


def filesystem_kind(path: Path, mounts: Iterable[Mount] | None = None) -> str | None:
    """The kind of file system that holds a path, as the operating system names it; None where it cannot be told.

    Args:
        path: need not exist yet.
        mounts: see :func:`network_filesystem`.
    """
    place = nearest_existing(path)  # first: looking at it mounts what is mounted on demand
    holding: tuple[int, str] | None = None
    for point, kind in _mounts() if mounts is None else mounts:
        # at the same mount point, the later mount hides the earlier one
        if place.is_relative_to(point) and (holding is None or len(Path(point).parts) >= holding[0]):
            holding = len(Path(point).parts), kind
    return None if holding is None else holding[1]


def free_space(path: Path) -> int:
    """Bytes that this user may still write where ``path`` is or would be.

    Raises:
        OSError: the file system does not say.
    """
    return shutil.disk_usage(nearest_existing(path)).free


def why_not_writable(folder: Path) -> str | None:
    """Why no file could be made in a folder, which need not exist yet; None where one could."""
    place = nearest_existing(folder)
    if not place.is_dir():
        return f"{place} is a file, not a folder"
    try:
        with tempfile.TemporaryFile(dir=place, prefix=".gloss-tune-") as file:
            file.write(b"x" * 4096)
    except OSError as error:
        return f"{place}: {error.strerror or error}"
    return None


def nearest_existing(path: Path) -> Path:
    """The path without links, or the nearest folder above it that exists."""
    place = path.expanduser().absolute().resolve()
    while not _exists(place) and place != place.parent:
        place = place.parent
    return place


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, or a folder that we may not look into
        return False


def _mounts() -> list[Mount]:
    import psutil

    try:
        return [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]
    except OSError:  # no /proc, as in some containers
        return []
