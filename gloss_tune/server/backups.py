"""Dumps of a server, kept when it is stopped: the last few, each whole or not there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from gloss_tune.atomic import PART, part_beside
from gloss_tune.errors import GlossTuneError, Interrupted, StorageAwayError, StorageError
from gloss_tune.logging import logger
from gloss_tune.server.folder import Folder
from gloss_tune.storage.connect import open_storage
from gloss_tune.storage.dump import write_dump

#: How many are kept.
KEPT = 5


def keep_dump(folder: Folder, must_stop: Callable[[], bool]) -> Path | None:
    """Dump what a server holds, beside the dumps of earlier stops; the oldest go.

    Args:
        folder: of a server that runs.
        must_stop: asked meanwhile; True gives it up.

    Returns:
        The file; None where there is nothing to keep, or it could not be kept, which is said.
    """
    try:
        storage = open_storage(f"@{folder.url}", read_only=True)
    except StorageAwayError as error:
        logger.warning("No dump is kept: %s", error)
        return None
    except StorageError as error:
        logger.info("No dump is kept: %s", error)
        return None
    path = folder.backups / time.strftime("%Y-%m-%dT%H-%M-%SZ.dump", time.gmtime())
    part = part_beside(path)
    try:
        folder.backups.mkdir(mode=0o700, exist_ok=True)
        for left in folder.backups.glob(f".*{PART}"):
            left.unlink(missing_ok=True)
        write_dump(storage, part, must_stop)
        part.replace(path)
        for old in sorted(folder.backups.glob("*.dump"))[:-KEPT]:
            old.unlink(missing_ok=True)
    except (Interrupted, GlossTuneError, OSError) as error:
        part.unlink(missing_ok=True)
        logger.warning("No dump is kept: %s", error)
        return None
    finally:
        storage.remove_session()
        storage.engine.dispose()
    return path
