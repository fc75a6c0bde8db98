"""A storage kept in a file, and put back: nobody has to stop for it, and it is whole or not there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gloss_tune.atomic import part_beside
from gloss_tune.errors import GlossTuneError, InputError
from gloss_tune.filesystem import expanded
from gloss_tune.queue.heartbeats import AT_WORK, live_workers
from gloss_tune.storage import dump, sqlite_copy
from gloss_tune.storage.connect import check_revision, open_storage
from gloss_tune.storage.shared_storage import SharedStorage
from gloss_tune.storage.sqlite_file import url_of
from gloss_tune.storage.study_rows import delete_rows
from gloss_tune.storage.transfer import carry_study, count_trials, hold_open, study_keys
from gloss_tune.storage.url import parse_storage_url, shown_everywhere
from gloss_tune.study.study import all_studies
from gloss_tune.wording import count

#: Endings of files that become SQLite files, whatever the storage is.
SQLITE_ENDINGS = (".db", ".sqlite", ".sqlite3")


@dataclass(frozen=True)
class Backup:
    """What a file holds.

    Args:
        file: the file.
        kind: ``SQLite`` or ``pg_dump``.
        studies: how many, whoever made them.
        trials: how many they have together.
        running: how many of these run.
    """

    file: Path
    kind: str
    studies: int
    trials: int
    running: int = 0


def backup_storage(url: str, file: str | Path, *, overwrite: bool = False) -> Backup:
    """Keep a storage in a file, as it is at one moment; workers go on meanwhile.

    Args:
        url: the storage, a URL or ``@FILE``.
        file: becomes an SQLite file, or, of a Postgres and unless it ends in ``.db``, a dump by pg_dump.
        overwrite: replace a file that is there.

    Raises:
        InputError: the storage or the file will not do; nothing was written.
        GlossTuneError: it did not succeed; the file is as it was.
    """
    path = expanded(file).absolute()
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"A backup is a file in a folder that is there; got {path}; name another FILE")
    if path.exists() and not overwrite:
        raise InputError(f"{path} is there already; name another FILE, or give --overwrite")
    storage = open_storage(url, read_only=True)
    if storage.engine.dialect.name == "sqlite" or path.suffix.lower() in SQLITE_ENDINGS:
        _check_other_file(storage, path)
        sqlite_copy.write_copy(storage, path, (AT_WORK,))
        return _described(path, "SQLite", open_storage(url_of(path), read_only=True))
    part = part_beside(path)
    try:
        contents = dump.write_dump(storage, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return Backup(path, "pg_dump", contents.rows.get("studies", 0), contents.rows.get("trials", 0))


def restore_storage(url: str, file: str | Path, *, overwrite: bool = False) -> Backup:
    """Put what a backup holds into a storage that holds no study, whole or not at all, and compare it.

    Trials that ran at the time of the backup are requeued when their leases end, as if their workers were lost.

    Args:
        url: the storage, a URL or ``@FILE``; its tables are made if it has none.
        file: of :func:`backup_storage`.
        overwrite: replace what the storage holds.

    Raises:
        InputError: the file is no backup, or the storage holds studies. Nothing was written.
        GlossTuneError: it did not succeed; the storage is as it was.
    """
    path = expanded(file).absolute()
    kind = _kind(path)
    if kind == "SQLite":
        source = open_storage(url_of(path), read_only=True)
        target = open_storage(url, create=True)
        _check_other_file(target, path)
        _restore_rows(source, target, overwrite)
        return _described(path, kind, target)
    contents = dump.read_dump(path)
    check_revision(contents.revision, str(path))
    if parse_storage_url(url).get_backend_name() == "sqlite":
        raise InputError(
            f"{path} is a dump of Postgres, and {shown_everywhere(url)} is SQLite; restore it into a Postgres "
            "('gloss-tune storage serve' starts one), from where 'gloss-tune storage move' takes it"
        )
    target = open_storage(url, create=True)
    _check_empty(target, overwrite)
    dump.restore_dump(target, path)
    found = dump.count_rows(target)
    if any(found[table] != rows for table, rows in contents.rows.items()):
        raise GlossTuneError(
            f"Storage {target.redacted_url} holds other rows after it: {found}, not {contents.rows}"
        )
    return _described(path, kind, target)


def _kind(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise InputError(f"{path} cannot be read as a backup ({error.strerror}); name another FILE") from None
    if head == sqlite_copy.MAGIC:
        return "SQLite"
    if head.startswith(dump.MAGIC):
        return "pg_dump"
    raise InputError(f"{path} is no backup: neither an SQLite file nor a dump of pg_dump; name another FILE")


def _check_other_file(storage: SharedStorage, path: Path) -> None:
    if storage.file is not None and storage.file.resolve() == path.resolve():
        raise InputError(f"A backup is another file than its storage, and both are {path}; name another FILE")


def _check_empty(target: SharedStorage, overwrite: bool) -> None:
    with target.reading() as session:
        held = sorted(study_keys(session))
    if held and not overwrite:
        raise InputError(
            f"Storage {target.redacted_url} holds {count(len(held), 'study', 'studies')} ({', '.join(held[:5])}); "
            "restore into an empty one, or give --overwrite, which replaces all that it holds"
        )
    for study in all_studies(target):
        workers = [w for w in live_workers(target, study.study_id, study.spec.lease) if not w.is_gone]
        if workers:
            raise InputError(
                f"Study {study.name!r} of storage {target.redacted_url} has {count(len(workers), 'worker')} at work; "
                f"stop them first ('gloss-tune stop --study {study.name}')"
            )


def _restore_rows(source: SharedStorage, target: SharedStorage, overwrite: bool) -> None:
    _check_empty(target, overwrite)
    with source.reading() as reading, target.exclusive() as writing:
        hold_open(writing)
        held = study_keys(writing)
        if held and not overwrite:
            raise InputError(
                f"Storage {target.redacted_url} got a study meanwhile; restore into an empty one"
            )
        for study_id in held.values():
            delete_rows(writing, study_id)
        for study_id in study_keys(reading).values():
            carry_study(reading, study_id, writing, (AT_WORK,))


def _described(path: Path, kind: str, storage: SharedStorage) -> Backup:
    with storage.reading() as session:
        counted = [count_trials(session, study_id) for study_id in study_keys(session).values()]
    storage.remove_session()
    storage.engine.dispose()
    return Backup(path, kind, len(counted), sum(n for n, _ in counted), sum(r for _, r in counted))
