"""What holds a path, on mount tables made up here and on this machine."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from gloss_tune import filesystem
from gloss_tune.filesystem import (
    filesystem_kind,
    free_space,
    nearest_existing,
    nonlocal_filesystem,
    why_not_writable,
)

SHARED = [
    *(
        "nfs",
        "nfs4",
        "NFS",
        "cifs",
        "smb3",
        "smbfs",
        "fuse.sshfs",
        "davfs",
        "afs",
        "lustre",
        "beegfs",
        "gpfs",
    ),
    *("ceph", "fuse.ceph", "glusterfs", "fuse.glusterfs", "ocfs2", "gfs2", "orangefs", "pvfs2", "fuse.s3fs"),
    # of virtual machines and container desktops, which look local and are not
    *("9p", "virtiofs", "fuse.virtiofs", "fuse.grpcfuse", "grpcfuse", "vboxsf", "prl_fs", "vmhgfs"),
    *("fuse.vmhgfs-fuse", "drvfs", "osxfs", "fakeowner", "fuse.osxfs"),
    # of object stores and unions, and what nobody has heard of yet
    *("fuse.blobfuse2", "fuse.gcsfuse", "fuse.rclone", "fuse.juicefs", "fuse", "fuse.mergerfs", "autofs"),
    *("remote NTFS", "none", "someday-fs", ""),
]
LOCAL = [
    *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "tmpfs", "ramfs", "overlay"),
    *(
        "fuse.fuse-overlayfs",
        "fuseblk",
        "fuse.ntfs-3g",
        "ntfs3",
        "NTFS",
        "vfat",
        "exfat",
        "apfs",
        "hfs",
        "ufs",
    ),
]


@pytest.mark.parametrize("kind", SHARED)
def test_what_is_not_known_to_be_local_is_named(kind: str, tmp_path: Path) -> None:
    mounts = [("/", "ext4"), (str(tmp_path.resolve()), kind)]
    assert nonlocal_filesystem(tmp_path / "study.db", mounts) == kind
    assert nonlocal_filesystem(tmp_path.parent / "study.db", mounts) is None


@pytest.mark.parametrize("kind", LOCAL)
def test_local_ones_are_none(kind: str) -> None:
    assert nonlocal_filesystem(Path("/anything"), [("/", kind)]) is None
    assert filesystem_kind(Path("/anything"), [("/", kind)]) == kind


def test_the_longest_mount_point_holds_whatever_the_order(tmp_path: Path) -> None:
    home = tmp_path.resolve()
    (home / "scratch").mkdir()
    mounts = [(f"{home}/scratch", "xfs"), ("/", "ext4"), (str(home), "nfs4")]
    for table in (mounts, mounts[::-1]):
        assert nonlocal_filesystem(home / "scratch" / "study.db", table) is None
        assert nonlocal_filesystem(home / "scratchy" / "study.db", table) == "nfs4"
        assert nonlocal_filesystem(home, table) == "nfs4"


def test_a_mount_over_another_hides_it(tmp_path: Path) -> None:
    point = str(tmp_path.resolve())
    assert nonlocal_filesystem(tmp_path, [("/", "ext4"), (point, "autofs"), (point, "nfs4")]) == "nfs4"
    assert nonlocal_filesystem(tmp_path, [("/", "ext4"), (point, "nfs4"), (point, "tmpfs")]) is None


def test_a_path_that_is_not_there_yet_counts_where_it_would_be(tmp_path: Path) -> None:
    point = str(tmp_path.resolve())
    assert nonlocal_filesystem(tmp_path / "a" / "b" / "study.db", [("/", "ext4"), (point, "nfs")]) == "nfs"


def test_links_are_followed(tmp_path: Path) -> None:
    """A bind mount shows in the table under its own point; a link does not, and must be resolved."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "here").symlink_to(tmp_path / "shared")
    mounts = [("/", "ext4"), (str((tmp_path / "shared").resolve()), "nfs4")]
    assert nonlocal_filesystem(tmp_path / "here" / "study.db", mounts) == "nfs4"


def test_relative_paths_are_seen_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert nonlocal_filesystem(Path("study.db"), [("/", "ext4"), (str(tmp_path.resolve()), "cifs")]) == "cifs"


def test_what_cannot_be_told_is_not_taken_for_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert nonlocal_filesystem(tmp_path, []) == "of unknown kind"

    def unreadable(**_: object) -> None:
        raise FileNotFoundError("/proc/self/mounts")

    monkeypatch.setattr(psutil, "disk_partitions", unreadable)
    monkeypatch.setattr(filesystem, "_kind_by_mount_id", lambda place: None)
    assert nonlocal_filesystem(tmp_path) == "of unknown kind"


def test_a_network_drive_of_windows_tells_the_other_machines_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = type("drive", (), {"mountpoint": "/", "fstype": "NTFS", "opts": "rw,remote"})
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [drive])
    monkeypatch.setattr(filesystem, "_kind_by_mount_id", lambda place: None)
    assert nonlocal_filesystem(tmp_path) == "remote NTFS"


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., None]]:
    points: list[str] = []

    def mounted(kind: str, point: Path, *options: str) -> None:
        point.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", kind, *options, "gloss-tune", str(point)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("needs the right to mount")
        points.append(str(point))

    yield mounted
    for point in reversed(points):
        subprocess.run(["umount", point], check=True)


def test_the_kernel_tells_which_mount_holds_a_path(mount: Callable[..., None], tmp_path: Path) -> None:
    """Names with blanks are written \\040 in its table, and a later mount over a folder hides those below it."""
    odd = tmp_path / "a b\\040c"
    mount("ramfs", odd)
    assert filesystem_kind(odd / "study.db") == "ramfs"
    assert filesystem_kind(tmp_path) != "ramfs"
    mount("ramfs", tmp_path / "outer" / "inner")
    mount("tmpfs", tmp_path / "outer")  # hides the one below
    (tmp_path / "outer" / "inner").mkdir()
    assert filesystem_kind(tmp_path / "outer" / "inner") == "tmpfs"
    (tmp_path / "bound").mkdir()
    subprocess.run(["mount", "--bind", odd, tmp_path / "bound"], check=True)
    try:
        assert filesystem_kind(tmp_path / "bound" / "study.db") == "ramfs"
    finally:
        subprocess.run(["umount", tmp_path / "bound"], check=True)


def test_asking_for_the_kind_drops_no_lock_on_the_file(tmp_path: Path) -> None:
    """As opening and closing it would (see sqlite.org/howtocorrupt.html)."""
    path = tmp_path / "study.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("CREATE TABLE a (b)")
    holder.execute("BEGIN EXCLUSIVE")
    assert filesystem_kind(path) is not None
    code = f"import sqlite3; sqlite3.connect({str(path)!r}, timeout=0).execute('BEGIN IMMEDIATE')"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    holder.close()
    assert "locked" in other.stderr


def test_this_machine_has_a_mount_table() -> None:
    assert filesystem_kind(Path("/")) is not None


def test_free_space_is_the_file_systems(tmp_path: Path) -> None:
    there = os.statvfs(tmp_path)
    assert free_space(tmp_path / "a" / "b") == pytest.approx(there.f_bavail * there.f_frsize, rel=0.05)


@pytest.mark.parametrize("place", [".", "not/yet", "n" * 300])
def test_a_folder_in_which_files_can_be_made(tmp_path: Path, place: str) -> None:
    assert why_not_writable(tmp_path / place) is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_whose_place_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for place in ("file", "file/below"):
        assert why_not_writable(tmp_path / place) == f"{tmp_path.resolve()}/file is a file, not a folder"
    assert (tmp_path / "file").read_text() == "kept"


def test_a_file_system_that_takes_no_files_says_why() -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("needs a file system that even root cannot write to")
    assert "/proc" in (why_not_writable(Path("/proc/gloss-tune")) or "")


def test_the_nearest_that_exists(tmp_path: Path) -> None:
    assert nearest_existing(tmp_path / "a" / "b") == tmp_path.resolve()
    assert nearest_existing(Path("/no-such-folder-anywhere/x")) == Path("/")
