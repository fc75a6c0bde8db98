"""What holds a path: which file system, how much room, and whether one can write there. Nothing here leaves a trace."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

#: Kinds on one machine's own disks or in its memory, on which SQLite's locks and its shared memory can be relied on.
#: What several machines may see, and what nobody has tried, is not among them: a hypervisor's or a container
#: desktop's shared folders (9p, virtiofs, vboxsf, grpcfuse …) pass for local disks, and are not.
_LOCAL_KINDS = frozenset(
    (
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "reiserfs", "nilfs2"),
        *("tmpfs", "ramfs", "rootfs", "devtmpfs", "hugetlbfs"),
        *("overlay", "overlayfs", "aufs", "unionfs", "fuse-overlayfs", "ecryptfs"),  # layers over local disks
        *("ubifs", "jffs2", "minix", "squashfs", "erofs", "iso9660", "udf"),
        *("apfs", "hfs", "hfsplus", "hfs+", "ufs", "ffs", "hammer", "hammer2"),
        *("ntfs", "ntfs3", "refs", "vfat", "msdos", "msdosfs", "fat", "fat32", "exfat"),
        *("fuseblk", "ntfs-3g"),  # a disk of this machine, read by a program
    )
)
UNKNOWN_KIND = "of unknown kind"
#: Bytes; a study fills what is less within hours.
LITTLE_SPACE = 200 * 10**6

Mount = tuple[str, str]
"""Mount point and kind of file system."""


def expanded(path: str | Path) -> Path:
    """The path with ``~`` as the home folder that it stands for; as it is, where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_there(path: Path) -> bool:
    """Whether a path exists; False, too, where nothing can be there, or nobody may look."""
    try:
        return path.exists()
    except OSError:
        return False


def nonlocal_filesystem(path: Path, mounts: Iterable[Mount] | None = None) -> str | None:
    """The kind of file system that holds a path, such as ``nfs4`` or ``9p``, unless it is known to be local.

    Args:
        path: need not exist yet.
        mounts: what is mounted where, later mounts over earlier ones; by default as on this machine.

    Returns:
        None where the file system is local; ``of unknown kind`` where that cannot be told.
    """
    kind = filesystem_kind(path, mounts)
    if kind is None:
        return UNKNOWN_KIND
    return None if kind.lower().removeprefix("fuse.") in _LOCAL_KINDS else kind


def filesystem_kind(path: Path, mounts: Iterable[Mount] | None = None) -> str | None:
    """The kind of file system that holds a path, as the operating system names it; None where it cannot be told.

    Args:
        path: need not exist yet.
        mounts: see :func:`nonlocal_filesystem`.
    """
    place = nearest_existing(path)  # first: looking at it mounts what is mounted on demand
    if mounts is None:
        exact = _kind_by_mount_id(place)
        if exact is not None:
            return exact
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


def _kind_by_mount_id(place: Path) -> str | None:
    """Asked of Linux's kernel, which knows best: mounts hide each other, and their points have names of any kind."""
    if not hasattr(os, "O_PATH"):
        return None
    try:
        # such a descriptor reads nothing, and closing it drops none of the locks that SQLite holds on the file
        descriptor = os.open(f"{place}/." if place.is_dir() else place, os.O_PATH | os.O_CLOEXEC)
        try:
            info = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
        finally:
            os.close(descriptor)
        table = Path("/proc/self/mountinfo").read_bytes().decode(errors="surrogateescape")
    except (OSError, ValueError):  # no /proc, as in some containers
        return None
    found = re.search(r"^mnt_id:\s*(\d+)$", info, re.MULTILINE)
    for line in table.splitlines() if found else ():
        head, _, tail = line.partition(" - ")
        if found and head.split(" ", 1)[0] == found[1] and tail:
            return tail.split(" ", 1)[0]
    return None


def _mounts() -> list[Mount]:
    import psutil

    try:
        parts = psutil.disk_partitions(all=True)
    except (OSError, RuntimeError):
        return []
    # Windows tells the other machine's kind of a network drive, and that it is one
    remote = [(part, "remote" in part.opts.split(",")) for part in parts]
    return [(part.mountpoint, f"remote {part.fstype}" if away else part.fstype) for part, away in remote]
