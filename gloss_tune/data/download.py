"""Finds a published data set on this machine, or downloads it once and checks each file against git's id."""

from __future__ import annotations

import hashlib
import logging
import sys
import tempfile
import textwrap
from pathlib import Path

from gloss_tune.data.cache import cache_dir
from gloss_tune.data.registry import DatasetInfo, UpstreamFile
from gloss_tune.errors import DataError

_log = logging.getLogger(__name__)


def locate(info: DatasetInfo, data_dir: Path | None = None) -> Path | None:
    """Where a data set is on this machine: under ``data_dir``, else in the cache; nothing is downloaded.

    Args:
        info: its entry in the registry.
        data_dir: a folder of ``NAME/{train,val,test}.csv``.

    Returns:
        The folder with its files, or None. In the cache only files with the right content count.

    Raises:
        DataError: ``data_dir`` is no folder, although this data set could be in it.
    """
    if data_dir is not None and info.files and not data_dir.is_dir():
        raise DataError(
            f"The data folder {data_dir} does not exist. Correct --data-dir or GLOSS_TUNE_DATA, or leave "
            f"it out."
        )
    if data_dir is not None and (data_dir / info.name).is_dir():
        return data_dir / info.name
    folder = _cache_folder(info)
    if info.files and all(_is_intact(_local(folder, file), file) for file in info.files):
        return folder
    return None


def fetch(info: DatasetInfo) -> Path:
    """Downloads the files of a data set that the cache lacks, with a progress bar where someone is watching.

    Several processes may do so at once: a file appears under its name only when it is whole and verified.

    Args:
        info: its entry in the registry, one with files.

    Returns:
        The folder with its files.

    Raises:
        DataError: the network or the disk fails, or a file is not the published one.
    """
    folder = _cache_folder(info)
    for file in info.files:
        if not _is_intact(_local(folder, file), file):
            _download_file(info.name, file, _local(folder, file))
    return folder


def _download_file(name: str, file: UpstreamFile, target: Path) -> None:
    import pooch

    # Without a known SHA-256, pooch tells people to note one down; the blob id below does that job.
    pooch.get_logger().setLevel(logging.WARNING)
    _log.info("downloading %s (%s) from %s", name, file.split, file.url)
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=30)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as temporary:
            pooch.retrieve(
                file.url, known_hash=None, fname=target.name, path=temporary, downloader=downloader
            )
            arrived = Path(temporary, target.name)
            if not _is_intact(arrived, file):
                raise DataError(
                    f"{file.url} is not the published file: its git blob id is {_blob_id(arrived)} and not "
                    f"{file.blob}. Nothing was kept. Try again, or put the files into a folder {name}/ and "
                    f"name the folder above it with --data-dir."
                )
            arrived.replace(target)
    # Both what pooch raises for a bad transfer and every error of the network are among these.
    except (OSError, ValueError) as error:
        raise DataError(
            f"Data set {name!r} is not on this machine and could not be downloaded from {file.url} "
            f"({textwrap.shorten(str(error), 200)}). Check the network, put {name}/train.csv, val.csv and "
            f"test.csv into a folder and name that with --data-dir, or use the embedded data set 'stdlib'."
        ) from error


def _cache_folder(info: DatasetInfo) -> Path:
    return cache_dir() / "datasets" / info.name


def _local(folder: Path, file: UpstreamFile) -> Path:
    return folder / f"{file.split}.csv"


def _is_intact(path: Path, file: UpstreamFile) -> bool:
    return path.is_file() and _blob_id(path) == file.blob


def _blob_id(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
