"""Opens a file of data as bytes: unpacked where it is packed, with its first bytes to judge it by."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib
import io
import lzma
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, BinaryIO, cast

from gloss_tune.errors import DataError

PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
"""Endings of packed files; what counts is their first bytes."""

_HEAD = 1 << 20
_LARGE = 32 << 20  # bytes from which on someone who watches is shown how far it is
_UNPACK = "Unpack it, and name the folder or file."
_SAVE = "Save its table as CSV or Parquet, and name that file."
#: How files of other kinds begin, what they are, and what to do.
_FOREIGN = (
    (b"version https://git-lfs.github.com/", "the pointer to a file of Git LFS", "Fetch it: git lfs pull."),
    (b"7z\xbc\xaf\x27\x1c", "an archive (7z)", _UNPACK),
    (b"Rar!\x1a\x07", "an archive (rar)", _UNPACK),
    (b"\x1f\x9d", "packed by compress", _UNPACK),
    (b"\x04\x22\x4d\x18", "packed by lz4", _UNPACK),
    (b"\x5d\0\0", "packed by the old lzma", _UNPACK),
    (b"SQLite format 3\0", "a database (SQLite)", _SAVE),
    (b"\x89HDF\r\n", "an HDF5 file", _SAVE),
    (b"Obj\x01", "an Avro file", _SAVE),
    (b"\x93NUMPY", "an array of NumPy", _SAVE),
    *((b"\x80" + bytes([protocol]), "a pickle of Python", _SAVE) for protocol in range(2, 6)),
    (b"%PDF-", "a PDF document", "Name a file of texts."),
    (b"{\\rtf", "a document (RTF)", "Save it as plain text, and name that file."),
    (b"\x89PNG\r\n", "an image", "Name a file of texts."),
    (b"\xff\xd8\xff", "an image", "Name a file of texts."),
)
_EXCEL = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")


@contextlib.contextmanager
def open_data(file: Path | BinaryIO, name: str) -> Iterator[tuple[bytes, io.BufferedReader]]:
    """The first bytes of a file or stream, unpacked, and a stream of all of them.

    Args:
        file: a path, or a stream, which is left open.
        name: for messages.

    Yields:
        At least the first line, as far as there is one, up to a megabyte; and everything, from the first byte on.

    Raises:
        DataError: it cannot be read, or is an archive or a workbook.
    """
    with contextlib.ExitStack() as stack:
        if bare_suffix(PurePath(name)) in _EXCEL and (not isinstance(file, Path) or file.exists()):
            raise refuse_workbook(name)
        try:
            stream = stack.enter_context(_watched(file)) if isinstance(file, Path) else file
            head, whole = _with_head(stream)
            unpacked = _unpacked(head, whole, name)
            if unpacked is not whole:
                head, whole = _with_head(unpacked)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise unreadable(name, error) from None
        _refuse_foreign(head, name)
        yield head, whole


def unreadable(name: str, error: Exception) -> DataError:
    """What is said of a file that the system, or a decompressor, does not give."""
    why = getattr(error, "strerror", None) or error
    damaged = not isinstance(error, OSError) or isinstance(error, gzip.BadGzipFile)
    next_step = "It is damaged; copy it again." if damaged else "Check the path and its rights."
    return DataError(f"{name} cannot be read: {why}. {next_step}")


def bare_suffix(path: PurePath) -> str:
    """The ending of what a file holds: ``.csv`` of ``Train.CSV.gz``."""
    name = PurePath(path.name.lower())
    return PurePath(name.stem).suffix if name.suffix in PACKED else name.suffix


def is_packed(path: PurePath) -> bool:
    """Whether a file's name says that it is packed."""
    return path.suffix.lower() in PACKED


def refuse_workbook(name: str) -> DataError:
    """What is said of an Excel file."""
    return DataError(
        f"{name} is a workbook (Excel or the like), which is not read. Save its sheet as CSV UTF-8 (File, Save as), "
        "and name that file."
    )


class _Rejoined(io.RawIOBase):
    """The bytes that were read ahead, and then the rest of their stream, which is never closed by it."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head = memoryview(head)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._head:
            chunk = self._rest.read1(len(buffer))
        else:
            chunk, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _with_head(stream: Any) -> tuple[bytes, io.BufferedReader]:
    """Reads ahead no further than the first line, so that one who writes into a pipe line by line is answered."""
    head = b""
    while len(head) < _HEAD and b"\n" not in head:
        more = stream.read1(_HEAD)
        if not more:
            break
        head += more
    return head, io.BufferedReader(_Rejoined(head, stream), buffer_size=1 << 16)


@contextlib.contextmanager
def _watched(path: Path) -> Iterator[io.BufferedReader]:
    """The file; on a terminal with a progress bar, if it is large."""
    with path.open("rb") as file:
        size = path.stat().st_size
        by_itself = file.peek(8).startswith((b"PAR1", b"ARROW1"))  # pyarrow opens the file itself
        if size < _LARGE or by_itself or sys.stderr is None or not sys.stderr.isatty():
            yield file
            return
        from rich.console import Console
        from rich.progress import wrap_file

        console = Console(stderr=True)
        with wrap_file(
            file, size, description=f"Reading {path.name}", console=console, transient=True
        ) as seen:
            yield io.BufferedReader(cast(io.RawIOBase, seen), buffer_size=1 << 20)


def _unpacked(head: bytes, stream: io.BufferedReader, name: str) -> Any:
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=stream)
    if head.startswith(b"BZh"):
        return bz2.BZ2File(stream)
    if head.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMAFile(stream)
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstandard(stream, name)
    if head.startswith(b"PK\x03\x04"):
        return _only_member(stream, name)
    return stream


def _zstandard(stream: io.BufferedReader, name: str) -> Any:
    for module, opens in (
        ("compression.zstd", lambda found: found.ZstdFile(stream)),
        ("zstandard", lambda found: io.BufferedReader(found.ZstdDecompressor().stream_reader(stream))),
        ("pyarrow", lambda found: io.BufferedReader(found.CompressedInputStream(stream, "zstd"))),
    ):
        try:
            return opens(importlib.import_module(module))
        except ImportError:
            continue
    raise DataError(
        f"{name} is packed by zstandard, for which a package is missing. Install one (pip install zstandard), or "
        "unpack the file."
    )


def _only_member(stream: io.BufferedReader, name: str) -> Any:
    try:
        archive = zipfile.ZipFile(io.BytesIO(stream.read()))
    except zipfile.BadZipFile as error:
        raise DataError(f"{name} is not a readable zip file ({error}). Copy it again.") from None
    members = [
        member
        for member in archive.namelist()
        if not member.endswith("/") and not member.startswith("__MACOSX/") and PurePath(member).name[0] != "."
    ]
    if "[Content_Types].xml" in members or "mimetype" in members:
        raise refuse_workbook(name)
    if len(members) != 1:
        held = ", ".join(map(repr, members[:10])) or "none"
        raise DataError(
            f"A zip file holds one data file, but {name} has {held}. Unpack it, and name the folder."
        )
    try:
        return archive.open(members[0])
    except RuntimeError as error:  # encrypted
        raise DataError(f"{name} cannot be unpacked ({error}). Unpack it, and name the file.") from None


def _refuse_foreign(head: bytes, name: str) -> None:
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        raise refuse_workbook(name)
    if head[257:262] == b"ustar":
        raise _foreign(name, "an archive (tar)", _UNPACK)
    for begin, what, next_step in _FOREIGN:
        if head.startswith(begin):
            raise _foreign(name, what, next_step)


def _foreign(name: str, what: str, next_step: str) -> DataError:
    return DataError(f"{name} is {what}, which is not read. {next_step}")
