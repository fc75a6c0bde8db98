"""From a URL to a storage: what is refused, and that a refusal leaves no trace."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from gloss_tune.errors import InputError, StorageError
from gloss_tune.logging import redact
from gloss_tune.queue.budget import counts
from gloss_tune.queue.claims import claim
from gloss_tune.storage import schema
from gloss_tune.storage.connect import open_storage
from gloss_tune.storage.url import parse_storage_url
from gloss_tune.study.study import open_study
from tests.integration.studies import contents, join, make

MODES = pytest.mark.parametrize("create", [False, True], ids=["read", "create"])


def files(folder: Path) -> dict[str, bytes | None]:
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))
    }


def execute(url: str, *statements: str) -> None:
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(sqlalchemy.text(statement))
    finally:
        engine.dispose()


# ── databases of other tools ──

ALEMBIC = "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"
FOREIGN = {
    "another revision": [
        ALEMBIC,
        "INSERT INTO alembic_version VALUES ('d41d8cd98f00')",
        "CREATE TABLE users (id INT)",
    ],
    "two heads": [ALEMBIC, "INSERT INTO alembic_version VALUES ('abc'), ('def')"],
    "other columns": ["CREATE TABLE alembic_version (number INT)", "INSERT INTO alembic_version VALUES (1)"],
    "tables of the same name": ["CREATE TABLE studies (retried INT)", "CREATE TABLE trials (id INT)"],
    "one table of the same name": ["CREATE TABLE trials (id INT)"],
    "revision and tables of the same name": [
        ALEMBIC,
        "INSERT INTO alembic_version VALUES ('abc')",
        "CREATE TABLE studies (id INT)",
    ],
}


@MODES
@pytest.mark.parametrize("statements", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_database_of_another_tool_is_refused_and_left_as_it_was(
    storage_url: str, statements: list[str], create: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gloss_tune.storage.connect._FIRST_START_TRIES", 2
    )  # it might be half-made: no long wait here
    execute(storage_url, *statements)
    before, files_before = contents(storage_url), files(tmp_path)
    with pytest.raises(StorageError) as caught:
        open_storage(storage_url, create=create)
    assert "another tool" in str(caught.value) or "alembic_version" in str(caught.value)
    assert contents(storage_url) == before
    assert files(tmp_path) == files_before


@MODES
def test_a_database_of_a_newer_optuna_is_called_so(storage_url: str, create: bool) -> None:
    make(storage_url)
    execute(storage_url, "UPDATE alembic_version SET version_num = 'v9.9.9.a'")
    before = contents(storage_url)
    with pytest.raises(StorageError, match=r"newer Optuna.*v9\.9\.9\.a.*upgrade"):
        open_storage(storage_url, create=create)
    assert contents(storage_url) == before


@MODES
def test_a_database_of_an_older_optuna_says_how_to_upgrade(storage_url: str, create: bool) -> None:
    make(storage_url)
    execute(storage_url, "UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    before = contents(storage_url)
    with pytest.raises(StorageError, match="optuna storage upgrade"):
        open_storage(storage_url, create=create)
    assert contents(storage_url) == before


def test_a_database_that_also_holds_other_tables_is_used(storage_url: str) -> None:
    """A project's own Postgres database is a fair place."""
    execute(storage_url, "CREATE TABLE customers (id INT)", "INSERT INTO customers VALUES (7)")
    opened = make(storage_url)
    assert sum(counts(opened.storage, opened.study_id).values()) == 4
    assert contents(storage_url)["customers"] == ["(7,)"]


@pytest.mark.parametrize("made", [1, 3, 20])
def test_a_creation_that_was_killed_can_be_repeated(storage_url: str, made: int) -> None:
    """Optuna commits table by table; the first process may end after any of them."""
    engine = sqlalchemy.create_engine(storage_url)
    metadata = schema.Trial.metadata
    metadata.create_all(engine, tables=metadata.sorted_tables[:made])
    engine.dispose()
    opened = make(storage_url)
    assert sum(counts(opened.storage, opened.study_id).values()) == 4


# ── places ──


def _garbage(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + os.urandom(5000))


PLACES: dict[str, Callable[[Path], object]] = {
    "a text file": lambda path: path.write_text("epoch,loss\n1,0.5\n" * 100),
    "a short file": lambda path: path.write_bytes(b"x"),
    "a folder": lambda path: path.mkdir(),
    "garbage behind the right header": _garbage,
}


@MODES
@pytest.mark.parametrize("prepare", PLACES.values(), ids=PLACES.keys())
def test_a_file_that_is_no_database_is_refused_untouched(
    prepare: Callable[[Path], object], create: bool, tmp_path: Path
) -> None:
    path = tmp_path / "place.db"
    prepare(path)
    before = files(tmp_path)
    with pytest.raises(StorageError, match=r"place\.db"):
        open_storage(f"sqlite:///{path}", create=create)
    assert files(tmp_path) == before


@MODES
@pytest.mark.parametrize("place", ["missing/study.db", "file.txt/study.db", "x" * 300 + ".db", "\udcff.db"])
def test_a_place_that_cannot_be_is_refused(place: str, create: bool, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("")
    before = files(tmp_path)
    with pytest.raises(StorageError):
        open_storage(f"sqlite:///{tmp_path}/{place}", create=create)
    assert files(tmp_path) == before


@pytest.mark.parametrize("place", ["missing.db", "empty.db"])
def test_readers_make_nothing(place: str, tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    before = files(tmp_path)
    for read_only in (False, True):
        with pytest.raises(StorageError, match="gloss-tune create"):
            open_storage(f"sqlite:///{tmp_path / place}", read_only=read_only)
    assert files(tmp_path) == before


def test_readers_make_nothing_in_an_empty_postgres(postgres_url: str) -> None:
    with pytest.raises(StorageError, match="gloss-tune create"):
        open_storage(postgres_url)
    assert contents(postgres_url) == {}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "  ",
        "study.db",
        "sqlite",
        "sqlite:study.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file::memory:?cache=shared&uri=true",
        "sqlite://study.db",
        "sqlite://folder/study.db",
        "sqlite:///study.db?timeout=abc",
        "mysql://me@host/db",
        "mysql+pymysql://me:pw@host/db",
        "oracle://host/db",
        "https://host/db",
        "journal:///file.log",
        "redis://localhost",
        "postgresql://me@host:port/db",
    ],
)
@MODES
def test_a_url_of_no_use_is_refused(
    url: str, create: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError) as caught:
        open_storage(url, create=create)
    assert str(caught.value)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("query", ["?foo=bar", "?timeout=5", "?uri=true"])
def test_a_query_that_a_url_carries_works_everywhere_or_nowhere(
    query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Warnings are errors here; and what create makes, the next command finds."""
    monkeypatch.chdir(tmp_path)
    prefix = "file:" if "uri" in query else ""
    try:
        open_storage(f"sqlite:///{prefix}study.db{query}", create=True)
    except StorageError:
        assert files(tmp_path) == {}
        return
    open_storage(f"sqlite:///{prefix}study.db{query}")


@pytest.mark.parametrize(
    "name", ["my study.db", "50%.db", "{a}.db", "it's.db", 'say "hi".db', "größe.db", "a;b.db", "#1.db"]
)
def test_odd_file_names_work(name: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / name}"
    opened = make(url)
    assert claim(opened.storage, opened.study_id, "w") is not None
    assert sum(counts(join(url).storage, 1).values()) == 4
    assert (tmp_path / name).is_file()


def test_a_relative_path_is_below_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make("sqlite:///study.db")
    assert (tmp_path / "study.db").is_file()
    assert open_study(f"sqlite:///{tmp_path}/study.db").name == "study"


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ("sqlite:///x.db", "sqlite"),
        ("sqlite+pysqlite:///x.db", "sqlite"),
        ("postgresql://me@host/db", "postgresql+psycopg"),
        ("postgres://me@host/db", "postgresql+psycopg"),
        ("postgresql+psycopg2://me@host/db", "postgresql+psycopg"),
        (" postgresql://me@host/db\n", "postgresql+psycopg"),
    ],
)
def test_the_driver_is_filled_in(text: str, driver: str) -> None:
    assert parse_storage_url(text).drivername == driver


# ── servers that do not answer, and secrets ──


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    "where",
    [
        "postgresql://me:S3CRET@127.0.0.1:{port}/db",
        "postgresql://me@127.0.0.1:{port}/db?password=S3CRET",
        "postgresql://127.0.0.1:{port}/db?user=me&password=S3CRET&sslmode=disable",
        "postgresql://me:S3C@RET@127.0.0.1:{port}/db",
        "postgresql://me@corp:S3CRET@127.0.0.1:{port}/db",
        "postgresql://me:S3CRET@127.0.0.1:{port}/db?nonsense=1",
    ],
)
def test_an_unreachable_postgres_is_named_without_its_password(where: str) -> None:
    with pytest.raises(StorageError) as caught:
        open_storage(where.format(port=unused_port()), create=True)
    message = redact(str(caught.value))
    assert "S3C" not in message
    assert "RET" not in message


def test_a_wrong_password_is_not_repeated(postgres_url: str) -> None:
    url = sqlalchemy.make_url(postgres_url).set(password="S3CRET").render_as_string(hide_password=False)
    with pytest.raises(StorageError, match="authentication failed") as caught:
        open_storage(url)
    assert "S3CRET" not in str(caught.value)


def test_a_missing_database_is_named(postgres_url: str) -> None:
    with pytest.raises(StorageError, match="no_such_database"):
        open_storage(postgres_url.rsplit("/", 1)[0] + "/no_such_database", create=True)


def test_a_storage_never_shows_its_password(postgres_url: str) -> None:
    url = sqlalchemy.make_url(postgres_url)
    assert url.password
    in_query = url.set(username=None, password=None).update_query_dict(
        {"user": url.username, "password": url.password}
    )
    make(postgres_url)
    for text in (postgres_url, in_query.render_as_string(hide_password=False)):
        opened = open_study(text)
        assert url.password not in opened.storage.redacted_url
        with pytest.raises(InputError) as caught:
            open_study(text, "nobody")
        assert url.password not in str(caught.value)
    assert url.password not in repr(contents(postgres_url))


# ── studies on a storage ──


def test_one_study_needs_no_name_and_several_do(storage_url: str) -> None:
    make(storage_url, "one")
    assert open_study(storage_url).name == "one"
    make(storage_url, "two")
    with pytest.raises(InputError, match=r"one, two.*--study"):
        open_study(storage_url)
    assert open_study(storage_url, "two").name == "two"
    with pytest.raises(InputError, match=r"three.*one, two"):
        open_study(storage_url, "three")


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_plain_optuna_reads_our_study_and_its_own_is_not_ours(storage_url: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    make(storage_url, "ours")
    plain = optuna.storages.RDBStorage(storage_url)
    try:
        assert len(optuna.load_study(study_name="ours", storage=plain).trials) == 4
        optuna.create_study(study_name="theirs", storage=plain)
        assert open_study(storage_url).name == "ours"
        with pytest.raises(InputError, match="not made by gloss-tune"):
            open_study(storage_url, "theirs")
        with pytest.raises(InputError, match="not made by gloss-tune"):
            make(storage_url, "theirs")
    finally:
        plain.remove_session()
        plain.engine.dispose()


def test_a_database_that_plain_optuna_made_is_used(storage_url: str) -> None:
    plain = optuna.storages.RDBStorage(storage_url)
    plain.remove_session()
    plain.engine.dispose()
    with pytest.raises(InputError, match="no study of gloss-tune"):
        open_study(storage_url)
    assert make(storage_url).name == "study"


# ── retries ──


def test_a_locked_sqlite_is_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    opened = make(url)
    holder = sqlite3.connect(tmp_path / "study.db", isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")

    def release() -> None:
        time.sleep(0.4)
        holder.execute("COMMIT")

    thread = threading.Thread(target=release)
    start = time.monotonic()
    thread.start()
    assert claim(opened.storage, opened.study_id, "w") is not None
    assert time.monotonic() - start >= 0.3
    thread.join()
    holder.close()


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    make(url)
    holder = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    holder.execute("UPDATE trials SET state = 'RUNNING'")
    start = time.monotonic()
    reader = open_study(url, read_only=True)
    assert counts(reader.storage, reader.study_id)[optuna.trial.TrialState.WAITING] == 4
    assert time.monotonic() - start < 2
    holder.close()


def break_connections(url: str) -> None:
    execute(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gloss-tune' "
        "AND datname = current_database()",
    )


def test_a_connection_that_broke_while_it_was_idle_is_replaced(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = make(postgres_url)
    assert counts(opened.storage, opened.study_id)
    break_connections(postgres_url)
    monkeypatch.setattr("gloss_tune.storage.postgres._IDLE_SECONDS", 0.0)
    assert claim(opened.storage, opened.study_id, "w") is not None


def test_a_worker_waits_out_a_connection_that_broke_in_use(postgres_url: str) -> None:
    opened = make(postgres_url)
    opened.storage.retry_for(30.0, lambda: False, lease=60.0)
    assert counts(opened.storage, opened.study_id)
    break_connections(postgres_url)
    assert claim(opened.storage, opened.study_id, "w") is not None


# ── URLs from files ──


def test_a_url_can_stand_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text(f"\n  sqlite:///{tmp_path}/study.db \n")
    assert parse_storage_url(f"@{secret}") == parse_storage_url(f"sqlite:///{tmp_path}/study.db")
    open_storage(f" @{secret} ", create=True)
    assert (tmp_path / "study.db").exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file"),
        (b"", "must hold the storage's URL and nothing else"),
        (b"sqlite:///a.db\nsqlite:///b.db", "must hold the storage's URL and nothing else"),
        (b"\xff\xfe", "cannot be read: it is no text file"),
        (b"password123", "what was given is none"),
    ],
)
def test_a_file_without_a_url_is_refused(content: bytes | None, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "url"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StorageError, match=complaint) as refused:
        open_storage(f"@{file}", create=True)
    assert "password123" not in str(refused.value)


def test_an_endless_file_is_refused() -> None:
    with pytest.raises(StorageError):
        parse_storage_url("@/dev/zero")


# ── network file systems ──


@pytest.fixture
def on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("GLOSS_TUNE_FORCE", raising=False)
    url = f"sqlite:///{tmp_path}/study.db"
    open_storage(url, create=True)
    monkeypatch.setattr("gloss_tune.storage.sqlite_file.nonlocal_filesystem", lambda path: "9p")
    return url


@pytest.mark.parametrize("create", [False, True])
def test_sqlite_on_a_network_file_system_is_refused_with_advice(on_nfs: str, create: bool) -> None:
    with pytest.raises(StorageError, match=r"not known to be a local one \(9p\).*Postgres.*--force"):
        open_storage(on_nfs, create=create)


@pytest.mark.parametrize(
    ("value", "forced"), [("1", True), ("true", True), ("0", False), ("false", False), ("", False)]
)
def test_force_uses_it_all_the_same(
    on_nfs: str, value: str, forced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOSS_TUNE_FORCE", value)
    if forced:
        open_storage(on_nfs)
    else:
        with pytest.raises(StorageError):
            open_storage(on_nfs)


def test_readers_may_look_anywhere(on_nfs: str) -> None:
    open_storage(on_nfs, read_only=True)


# ── what the process that has a study open must not do ──


def test_opening_a_study_again_drops_none_of_this_processs_locks(tmp_path: Path) -> None:
    """Closing any descriptor of an SQLite file drops all of the process's locks on it; then the next process to close
    deletes the log that this one still reads and writes (https://sqlite.org/howtocorrupt.html, section 2.2).
    """
    url = f"sqlite:///{tmp_path}/study.db"
    opened = make(url, trials=3)
    assert counts(opened.storage, opened.study_id)[TrialState.WAITING] == 3
    open_study(url)
    code = (
        "from gloss_tune.study.study import open_study; from gloss_tune.queue.claims import claim\n"
        f"opened = open_study({url!r}); claim(opened.storage, opened.study_id, 'other')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert counts(opened.storage, opened.study_id)[TrialState.RUNNING] == 1
    assert claim(opened.storage, opened.study_id, "me") is not None
    assert counts(open_study(url).storage, opened.study_id)[TrialState.RUNNING] == 2


# ── what a URL's options are ──


@pytest.mark.postgres
def test_a_urls_own_options_hold_beside_ours(postgres_url: str) -> None:
    engine = sqlalchemy.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE SCHEMA mine"))
    engine.dispose()
    storage = open_storage(f"{postgres_url}?options=-csearch_path%3Dmine&connect_timeout=7", create=True)
    with storage.engine.connect() as connection:
        show = lambda name: connection.execute(sqlalchemy.text(f"SHOW {name}")).scalar()  # noqa: E731
        assert show("search_path") == "mine"
        assert show("timezone") == "UTC"
        assert show("idle_in_transaction_session_timeout") == "30s"
        assert connection.connection.dbapi_connection.info.get_parameters()["connect_timeout"] == "7"  # type: ignore[union-attr]
    tables = contents(f"{postgres_url}?options=-csearch_path%3Dmine")
    assert "studies" in tables
