"""A Postgres storage as one file, by Postgres's own tools: pg_dump, pg_restore.

A dump sees one state of the database, whoever works on it meanwhile, and is restored whole or not at all. Of a database
that other tools share, only our tables are taken.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy

from gloss_tune.errors import GlossTuneError, Interrupted, StorageError
from gloss_tune.storage import schema
from gloss_tune.storage.postgres_programs import Release, releases
from gloss_tune.storage.shared_storage import SharedStorage

#: How such a file begins.
MAGIC = b"PGDMP"
_REVISION = "alembic_version"
_OTHERS = sqlalchemy.text(
    "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' "
    "AND NOT (c.relname = ANY(:ours) AND pg_table_is_visible(c.oid))"
)
_VERSION = sqlalchemy.text("SELECT current_setting('server_version_num')::int / 10000")
_PAUSE = 0.05


@dataclass(frozen=True)
class Contents:
    """What a dump holds.

    Args:
        rows: of each table.
        revision: of Optuna's tables.
    """

    rows: dict[str, int]
    revision: str | None


def write_dump(storage: SharedStorage, path: Path, must_stop: Callable[[], bool] = lambda: False) -> Contents:
    """Write a new file, and read it through.

    Raises:
        StorageError: there is no pg_dump here that knows this server.
        GlossTuneError: it does not succeed.
        Interrupted: it was to stop.
    """
    with storage.reading() as session:
        server = session.execute(_VERSION).scalar_one()
        others = session.execute(_OTHERS, {"ours": [*schema.TABLES, _REVISION]}).all()
    release = _release(server)
    left_out = [f"--exclude-table={_quoted(schema_name)}.{_quoted(name)}" for schema_name, name in others]
    command = [release.program("pg_dump"), "--format=custom", "--no-owner", "--no-privileges", *left_out]
    _call([*command, f"--file={path}"], storage, must_stop)
    return read_dump(path)


def restore_dump(storage: SharedStorage, path: Path) -> None:
    """Put a dump in the place of what a storage holds, in one transaction.

    Raises:
        StorageError: there is no pg_restore here that knows this server.
        GlossTuneError: it does not succeed; the storage is as it was.
    """
    with storage.reading() as session:
        server = session.execute(_VERSION).scalar_one()
    command = [_release(server).program("pg_restore"), "--single-transaction", "--exit-on-error", "--clean"]
    _call([*command, "--if-exists", "--no-owner", "--no-privileges", str(path)], storage)


def count_rows(storage: SharedStorage) -> dict[str, int]:
    """How many rows each table of a storage has."""
    with storage.reading() as session:
        return {
            name: session.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(table)).scalar_one()
            for name, table in schema.TABLES.items()
        }


def read_dump(path: Path) -> Contents:
    """What a dump holds, read to its end.

    Raises:
        StorageError: there is no pg_restore here that knows it, or it is damaged.
    """
    rows: dict[str, int] = {}
    revision = table = None
    command = [_release(0).program("pg_restore"), "--data-only", "--file=-", str(path)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        encoding="utf-8", env=_environment(None),
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    with process:
        for line in process.stdout:
            if table is None:
                header = re.match(r'COPY (?:\S+\.)?"?(\w+)"? \(', line)
                table = header[1] if header else None
                rows |= {table: 0} if table else {}
            elif line == "\\.\n":
                table = None
            else:
                rows[table] += 1
                revision = line.strip() if table == _REVISION else revision
        trouble = process.stderr.read()
    if process.returncode:
        raise StorageError(
            f"{path} cannot be read as a dump of Postgres: {_first_line(trouble)}. Take another file, or a pg_restore "
            "as new as the pg_dump that wrote it"
        )
    return Contents({name: number for name, number in rows.items() if name in schema.TABLES}, revision)


def _release(server: int) -> Release:
    """Whose tools to use: of the server's own release, or else of the next newer one."""
    found = releases("pg_dump", "pg_restore")
    if not found:
        raise StorageError(
            "There is no pg_dump on this machine. Install Postgres's client tools (Debian: postgresql-client), or, for "
            "a backup, name a FILE that ends in .db: it becomes an SQLite file, which needs none"
        )
    fitting = [release for release in found if release.major >= server]
    if not fitting:
        newest = max(release.major for release in found)
        raise StorageError(
            f"The server is Postgres {server}, and the newest pg_dump on this machine is {newest}, which does not know "
            f"it. Install postgresql-client-{server}, or, for a backup, name a FILE that ends in .db: it becomes an "
            "SQLite file, which needs none"
        )
    return min(fitting, key=lambda release: release.major) if server else max(fitting, key=lambda r: r.major)


def _call(
    command: Sequence[str], storage: SharedStorage, must_stop: Callable[[], bool] = lambda: False
) -> None:
    import psycopg

    _, known = storage.engine.dialect.create_connect_args(storage.engine.url)
    arguments: dict[str, Any] = {key: value for key, value in known.items() if isinstance(value, str | int)}
    password = arguments.pop("password", None)
    address = psycopg.conninfo.make_conninfo(**arguments)
    process = subprocess.Popen(
        [*command, "--no-password", f"--dbname={address}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, env=_environment(password), start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    with process:
        while process.poll() is None:
            if must_stop():
                process.kill()
                raise Interrupted(f"{Path(command[0]).name} was to stop")
            time.sleep(_PAUSE)
        trouble = process.stderr.read()
    if process.returncode:
        raise GlossTuneError(f"{Path(command[0]).name}: {_first_line(trouble)}. Mend that and repeat")


def _environment(password: object) -> dict[str, str]:
    """A password is nowhere that others could read it: not in arguments."""
    return {**os.environ, "LC_ALL": "C", **({} if password is None else {"PGPASSWORD": str(password)})}


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _first_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line]
    return re.sub(r"^pg_\w+: (error: )?", "", lines[0]) if lines else "it said nothing"
