"""Save and load the state of a run so that no half-written file is ever read. Torch is imported on demand."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

from gloss_tune.atomic import whole_file
from gloss_tune.errors import CheckpointError


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` to ``path`` as a whole or not at all.

    The state is written beside ``path``, flushed to the disk and renamed over it. A state without tensors (of
    a rehearsal) is written as JSON and needs no torch.

    Args:
        path: the file; its folder is made where missing.
        state: nested dictionaries and lists of tensors, numbers, strings, booleans and None.

    Raises:
        OSError: the disk is full or not writable; ``path`` is as it was before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        _write(file, dict(state))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote; tensors come to the CPU.

    Never runs code from the file: ``torch.load`` with ``weights_only=True``, or JSON.

    Raises:
        CheckpointError: the file is missing, truncated or damaged; start over without it.
    """
    try:
        with path.open("rb") as file:
            is_json = file.read(1) == b"{"
            file.seek(0)
            if is_json:
                return cast("dict[str, Any]", json.load(file))
            # torch writes a zip archive, but reads it without looking at its checksums
            damaged = zipfile.ZipFile(file).testzip()
            if damaged is not None:
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
            file.seek(0)
            import torch

            return cast("dict[str, Any]", torch.load(file, map_location="cpu", weights_only=True))
    # a damaged file surfaces as almost any exception, depending on which byte is wrong
    except Exception as error:
        raise CheckpointError(
            f"A checkpoint must be a whole file written by gloss-tune, got '{path}' "
            f"({type(error).__name__}: {error}); start this trial over without it"
        ) from error


def _write(file: IO[bytes], state: dict[str, Any]) -> None:
    if _is_plain(state):
        file.write(json.dumps(state).encode())
        return
    import torch

    try:
        torch.save(state, file)
    except RuntimeError as error:
        # torch's writer of zip files reports a failed write as a wrong position in the file
        cause = error.__context__
        if isinstance(cause, OSError):
            raise OSError(cause.errno, cause.strerror) from error
        raise


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)
