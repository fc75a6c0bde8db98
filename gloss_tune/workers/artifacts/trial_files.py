"""Files of single trials in the artifacts folder: where they are, whose, how large, and how they go.

ARTIFACTS/checkpoints/STUDY/trial-N.attempt-A.ckpt      where attempt A of trial N stands
ARTIFACTS/models/STUDY/trial-N/                         one of the best models
…/.trial-N.attempt-A.….part                             unfinished, or on its way out
ARTIFACTS/…                                             what optuna-dashboard shows
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from gloss_tune.atomic import PART
from gloss_tune.logging import logger
from gloss_tune.storage.trial_states import Standing

CHECKPOINTS = "checkpoints"
MODELS = "models"

_NAME = re.compile(r"\.?trial-(?P<number>\d+)(\.attempt-(?P<attempt>\d+)\..*)?")


@dataclass(frozen=True)
class TrialFile:
    """One entry of a study's folder.

    Args:
        path: the file or folder.
        number: of the trial that it belongs to.
        attempt: of that trial, 0 where the name does not say.
    """

    path: Path
    number: int
    attempt: int

    @property
    def is_part(self) -> bool:
        """Whether it was never finished, or is being removed."""
        return self.path.name.endswith(PART)

    def is_stale_part(self, standing: Standing) -> bool:
        """Whether it is a part at which no worker with a valid claim can still be writing."""
        at_work = standing.state == TrialState.RUNNING and self.attempt >= standing.attempt
        return self.is_part and not at_work


def trial_files(folder: Path) -> list[TrialFile]:
    """What a study's folder holds of its trials; nothing where there is no folder."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - iterdir of Python 3.10 raises later
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        _warn_once(f"{folder} cannot be looked at ({error.strerror}); what is left over there stays.")
        return []
    matches = ((name, _NAME.fullmatch(name)) for name in sorted(names))
    return [
        TrialFile(folder / name, int(match["number"]), int(match["attempt"] or 0))
        for name, match in matches
        if match
    ]


@cache
def _warn_once(message: str) -> None:
    """A worker looks after every trial, and finds the same."""
    logger.warning("%s", message)


def remove(path: Path) -> None:
    """Remove a file or a folder; what another worker removes at the same time is gone all the same.

    What cannot be removed stays, with a warning: it costs space, and no trial.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        if path.exists():  # others remove the same folder, and were quicker with one of its files
            shutil.rmtree(path, ignore_errors=True)
    except OSError as error:
        logger.warning("%s cannot be removed (%s); remove it by hand.", path, error.strerror)


def sizes(artifacts: Path, study: str) -> dict[str, Any] | None:
    """How much one study keeps in the artifacts folder, in bytes; files may come and go meanwhile.

    Returns:
        ``folder``, ``checkpoints`` and ``models`` of this study (each ``count`` and ``bytes``, with what is being
        written or was left unfinished), and ``other_bytes``: everything else there, of other studies too. None
        where there is no folder.
    """
    try:
        if not stat.S_ISDIR(artifacts.stat().st_mode):
            return None
    except OSError:  # not there, not ours, or no name that a folder could have
        return None
    found: dict[str, Any] = {"folder": str(artifacts)}
    for kind in (CHECKPOINTS, MODELS):
        folder = artifacts / kind / study
        whole = [file for file in trial_files(folder) if not file.is_part]
        found[kind] = {"count": len(whole), "bytes": bytes_in(folder)}
    ours = sum(found[kind]["bytes"] for kind in (CHECKPOINTS, MODELS))
    return {**found, "other_bytes": max(0, bytes_in(artifacts) - ours)}


def bytes_of(artifacts: Path, study: str) -> int:
    """What a study's checkpoints and models take, in bytes."""
    return sum(bytes_in(artifacts / kind / study) for kind in (CHECKPOINTS, MODELS))


def bytes_in(folder: Path | str) -> int:
    """What all files below a folder take; 0 where there is none."""
    return sum(_file_sizes(folder))


def _file_sizes(folder: Path | str) -> Iterator[int]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        yield bytes_in(entry.path)
                    else:
                        yield entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue  # gone since the folder was listed
    except OSError:
        return  # gone, or not ours to look into: it then counts for nothing
