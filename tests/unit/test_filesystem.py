"""What holds a path, on mount tables made up here and on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from gloss_tune.filesystem import (
    filesystem_kind,
    free_space,
    nearest_existing,
    network_filesystem,
    why_not_writable,
)


@pytest.mark.parametrize(
    "kind",
    [
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
        *(
            "ceph",
            "fuse.ceph",
            "glusterfs",
            "fuse.glusterfs",
            "ocfs2",
            "gfs2",
            "orangefs",
            "pvfs2",
            "fuse.s3fs",
        ),
    ],
)
def test_network_file_systems_are_known(kind: str, tmp_path: Path) -> None:
    mounts = [("/", "ext4"), (str(tmp_path.resolve()), kind)]
    assert network_filesystem(tmp_path / "study.db", mounts) == kind
    assert network_filesystem(tmp_path.parent / "study.db", mounts) is None


@pytest.mark.parametrize(
    "kind",
    ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "9p", "virtiofs", "fuseblk", "apfs", "fuse.mergerfs"],
)
def test_local_ones_and_those_of_virtual_machines_are_none(kind: str) -> None:
    assert network_filesystem(Path("/anything"), [("/", kind)]) is None
    assert filesystem_kind(Path("/anything"), [("/", kind)]) == kind


def test_the_longest_mount_point_holds_whatever_the_order(tmp_path: Path) -> None:
    home = tmp_path.resolve()
    (home / "scratch").mkdir()
    mounts = [(f"{home}/scratch", "xfs"), ("/", "ext4"), (str(home), "nfs4")]
    for table in (mounts, mounts[::-1]):
        assert network_filesystem(home / "scratch" / "study.db", table) is None
        assert network_filesystem(home / "scratchy" / "study.db", table) == "nfs4"
        assert network_filesystem(home, table) == "nfs4"


def test_a_mount_over_another_hides_it(tmp_path: Path) -> None:
    point = str(tmp_path.resolve())
    assert network_filesystem(tmp_path, [("/", "ext4"), (point, "autofs"), (point, "nfs4")]) == "nfs4"
    assert network_filesystem(tmp_path, [("/", "ext4"), (point, "nfs4"), (point, "tmpfs")]) is None


def test_a_path_that_is_not_there_yet_counts_where_it_would_be(tmp_path: Path) -> None:
    point = str(tmp_path.resolve())
    assert network_filesystem(tmp_path / "a" / "b" / "study.db", [("/", "ext4"), (point, "nfs")]) == "nfs"


def test_links_are_followed(tmp_path: Path) -> None:
    """A bind mount shows in the table under its own point; a link does not, and must be resolved."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "here").symlink_to(tmp_path / "shared")
    mounts = [("/", "ext4"), (str((tmp_path / "shared").resolve()), "nfs4")]
    assert network_filesystem(tmp_path / "here" / "study.db", mounts) == "nfs4"


def test_relative_paths_are_seen_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert network_filesystem(Path("study.db"), [("/", "ext4"), (str(tmp_path.resolve()), "cifs")]) == "cifs"


def test_without_a_mount_table_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert network_filesystem(tmp_path, []) is None

    def unreadable(**_: object) -> None:
        raise FileNotFoundError("/proc/self/mounts")

    monkeypatch.setattr(psutil, "disk_partitions", unreadable)
    assert network_filesystem(tmp_path) is None


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
