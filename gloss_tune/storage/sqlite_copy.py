"""A storage as an SQLite file: of SQLite by its online backup, which keeps nobody waiting; of Postgres row by row."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gloss_tune.atomic import whole_file
from gloss_tune.errors import GlossTuneError
from gloss_tune.storage.connect import open_storage
from gloss_tune.storage.shared_storage import SharedStorage
from gloss_tune.storage.sqlite_file import url_of
from gloss_tune.storage.transfer import carry_study, see_one_state, study_keys

#: How such a file begins.
MAGIC = b"SQLite format 3\0"


def write_copy(storage: SharedStorage, path: Path, left_out: tuple[str, ...]) -> None:
    """Write a file that is whole or not there, and check it.

    Args:
        storage: of either kind; others may work on it.
        path: the file.
        left_out: beginnings of the names of attributes that a copy of a Postgres storage lacks.

    Raises:
        GlossTuneError: what was written is damaged; ``path`` is as it was.
        OSError: it cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="gloss-tune-") as folder:
        copy = Path(folder) / "copy.db"
        if storage.engine.dialect.name == "sqlite":
            _back_up(storage, copy)
        else:
            _carry_all(storage, copy, left_out)
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")  # one file, with nothing beside it
            [(found,)] = connection.execute("PRAGMA integrity_check(1)")
        if found != "ok":
            raise GlossTuneError(
                f"The copy of storage {storage.redacted_url} is damaged: {found}. Check the disks"
            )
        with copy.open("rb") as source, whole_file(path) as target:
            shutil.copyfileobj(source, target)


def _back_up(storage: SharedStorage, copy: Path) -> None:
    borrowed = storage.engine.raw_connection()
    try:
        connection: Any = borrowed.driver_connection
        with contextlib.closing(sqlite3.connect(copy)) as target:
            connection.backup(target)
    finally:
        borrowed.close()


def _carry_all(storage: SharedStorage, copy: Path, left_out: tuple[str, ...]) -> None:
    with _opened(url_of(copy), create=True) as target, storage.transaction() as reading:
        see_one_state(reading)
        with target.transaction() as writing:
            for study_id in study_keys(reading).values():
                carry_study(reading, study_id, writing, left_out)


@contextmanager
def _opened(url: str, *, create: bool) -> Iterator[SharedStorage]:
    storage = open_storage(url, create=create)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()
