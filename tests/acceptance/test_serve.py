"""A server of one's own, as an ordinary user starts it: who gets in, who does not, and what is left after its end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from gloss_tune.storage.postgres_programs import releases
from tests.namespaces import NamespacesRefusedError, hold_namespaces
from tests.ordinary_user import NoOrdinaryUserError, OrdinaryUser

pytestmark = [pytest.mark.timeout(170), pytest.mark.postgres]
DIR = "a 'server' 100%"


@pytest.fixture(scope="module")
def user() -> Iterator[OrdinaryUser]:
    if not releases("postgres", "initdb"):
        pytest.skip("no Postgres server")
    folder = Path(tempfile.mkdtemp(prefix="gloss-tune-serve-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        found = OrdinaryUser(folder)
    except NoOrdinaryUserError as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(str(error))
    yield found
    found.close()
    for pid_file in folder.glob("*/data/postmaster.pid"):
        with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired, ValueError):
            server = psutil.Process(int(pid_file.read_text().split("\n")[0]))
            if server.name() == "postgres":
                server.send_signal(signal.SIGQUIT)
                server.wait(20)
    shutil.rmtree(folder, ignore_errors=True)


def wait_until(happened: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.05)


def pid_of(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().split("\n")[0])


def refused(url: str, **changes: object) -> str:
    """Why one does not get in."""
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(url, connect_timeout=10, **changes).close()
    return str(caught.value)


def test_who_gets_in_and_who_does_not(user: OrdinaryUser) -> None:
    folder = user.folder / DIR
    started = user.cli("storage", "serve", "--dir", folder, "--background")
    assert started.stdout == f"{folder / 'url'}\n"
    url = (folder / "url").read_text().strip()
    assert url.split("@")[0] not in started.stderr + started.stdout
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
    assert modes == {folder.name: 0o700, **dict.fromkeys(("data", "tls", "log"), 0o700)} | dict.fromkeys(
        ("url", "server.json", "lock"), 0o600
    )
    assert stat.S_IMODE((folder / "tls" / "server.key").stat().st_mode) == 0o600
    with psycopg.connect(url) as connection:
        assert connection.execute(
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone() == (False,)
        assert connection.execute("SHOW max_connections").fetchone() == ("200",)
        assert connection.pgconn.ssl_in_use
        addresses = connection.execute("SHOW listen_addresses").fetchone()
        assert addresses == ("127.0.0.1",)
    assert "password authentication failed" in refused(url, password="wrong")
    assert "no password supplied" in refused(url.replace(url.split(":")[2].split("@")[0], ""))
    assert "no pg_hba.conf entry" in refused(url, sslmode="disable", channel_binding="disable")
    assert "no pg_hba.conf entry" in refused(url, user="postgres")
    assert "no pg_hba.conf entry" in refused(url, dbname="postgres")
    user.cli("storage", "serve", "--stop", "--dir", folder)


@pytest.mark.slow
def test_it_is_as_it_was_after_each_start(user: OrdinaryUser) -> None:
    folder = user.folder / "again"
    user.cli("storage", "serve", "--dir", folder, "--background")
    url = (folder / "url").read_text().strip()
    assert "runs already" in user.cli("storage", "serve", "--dir", folder).stderr
    user.cli(
        "create",
        "--dataset",
        "mr",
        "--rehearse",
        "--trials",
        "3",
        "--study",
        "s",
        "--storage",
        f"@{folder}/url",
    )
    assert "a dump is in" in user.cli("storage", "serve", "--stop", "--dir", folder).stderr
    (dump,) = (folder / "backups").iterdir()
    assert dump.read_bytes()[:5] == b"PGDMP"
    foreground = user.start(sys.executable, "-m", "gloss_tune", "storage", "serve", "--dir", folder)
    assert foreground.stdout is not None
    assert foreground.stdout.readline() == f"{folder / 'url'}\n"
    assert (folder / "url").read_text().strip() == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM trials").fetchone() == (3,)
    os.kill(foreground.pid, signal.SIGTERM)
    assert foreground.wait(60) == 143
    assert len(list((folder / "backups").iterdir())) == 2
    assert not (folder / "data" / "postmaster.pid").exists()


@pytest.mark.slow
def test_after_a_crash_and_a_lost_password(user: OrdinaryUser) -> None:
    folder = user.folder / ("deep-" * 30)  # no socket, whose path would be too long
    serve = ("storage", "serve", "--dir", folder)
    user.cli(*serve, "--background")
    url = (folder / "url").read_text()
    os.kill(pid_of(folder), signal.SIGKILL)
    wait_until(lambda: "Connection refused" in refused_or_not(url))
    user.cli(*serve, "--background")
    assert (folder / "url").read_text() == url
    os.kill(pid_of(folder), signal.SIGKILL)
    wait_until(lambda: "Connection refused" in refused_or_not(url))
    (folder / "data" / "postmaster.pid").write_text(
        f"{os.getpid()}\n{folder}/data\n"
    )  # the id is another's by now
    (folder / "server.json").unlink()
    user.cli(*serve, "--background")
    assert (folder / "url").read_text().split("@")[0] != url.split("@")[0]
    assert refused_or_not((folder / "url").read_text()) == ""
    (folder / "server.json").unlink()
    assert "server.json is gone; stop it" in user.cli(*serve, "--background", exit_code=2).stderr
    user.cli(*serve, "--stop")


def refused_or_not(url: str) -> str:
    try:
        psycopg.connect(url.strip(), connect_timeout=5).close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_two_at_once_start_one(user: OrdinaryUser) -> None:
    folder = user.folder / "twice"
    command = (sys.executable, "-m", "gloss_tune", "storage", "serve", "--background", "--dir", folder)
    both = [user.start(*command) for _ in range(2)]
    told = sorted("runs already" in process.communicate(timeout=120)[1] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert told == [False, True], both
    user.cli("storage", "serve", "--stop", "--dir", folder)


@pytest.mark.slow
def test_one_that_cannot_start_says_why_and_leaves_nothing_running(user: OrdinaryUser) -> None:
    folder = user.folder / "damaged"
    serve = ("storage", "serve", "--dir", folder)
    user.cli(*serve, "--background")
    user.cli(*serve, "--stop")
    (folder / "data" / "global" / "pg_control").write_bytes(b"x" * 100)
    said = user.cli(*serve, "--background", exit_code=1).stderr
    assert "The server does not start: " in said
    assert "Traceback" not in said


@pytest.fixture
def elsewhere(user: OrdinaryUser) -> Iterator[tuple[OrdinaryUser, str]]:
    """A user of another machine, as far as the network goes, and this machine's address in it."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter"))):
        pytest.skip("no network can be made here")
    try:
        holder = hold_namespaces("--net", setup="ip link set lo up; ")
    except NamespacesRefusedError as error:
        pytest.skip(f"no network namespace can be made here: {error}")
    here, there, net = (
        f"gth{os.getpid() % 10**6}",
        f"gtn{os.getpid() % 10**6}",
        f"10.251.{os.getpid() % 250 + 1}",
    )
    enter = ("nsenter", f"--net=/proc/{holder.pid}/ns/net")
    try:
        for command in (
            ["ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", str(holder.pid)],
            ["ip", "address", "add", f"{net}.1/24", "dev", here],
            ["ip", "link", "set", here, "up"],
            [*enter, "ip", "address", "add", f"{net}.2/24", "dev", there],
            [*enter, "ip", "link", "set", there, "up"],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no network can be made here: {done.stderr}")
        other = OrdinaryUser(user.folder, enter)
        yield other, f"{net}.1"
        other.close()
    finally:  # the kernel takes the network away with its last process
        holder.communicate("done\n")


@pytest.mark.slow
def test_eight_workers_of_another_machine(user: OrdinaryUser, elsewhere: tuple[OrdinaryUser, str]) -> None:
    other, address = elsewhere
    folder, url_file = user.folder / "cluster", user.folder / "cluster-url"
    serve = ("storage", "serve", "--dir", folder)
    user.cli(*serve, "--background", "--listen", address, "--url-file", url_file)
    storage = ("--storage", f"@{url_file}")
    assert f"@{address}:" in url_file.read_text()
    assert stat.S_IMODE(url_file.stat().st_mode) == 0o600
    other.cli(
        *(
            "create",
            "--dataset",
            "mr",
            "--rehearse",
            "--rehearse-seconds",
            "2",
            "--trials",
            "40",
            "--study",
            "s",
        ),
        *("--set", "pruner=none", "--lease", "20", *storage),
    )
    workers = [other.start(sys.executable, "-m", "gloss_tune", "worker", *storage) for _ in range(8)]

    def finished() -> int:
        try:
            with psycopg.connect(url_file.read_text().strip(), connect_timeout=5) as connection:
                query = "SELECT count(*) FROM trials WHERE state = 'COMPLETE'"
                return connection.execute(query).fetchone()[0]  # type: ignore[index]
        except psycopg.OperationalError:
            return 0

    wait_until(lambda: finished() >= 8)
    user.cli(*serve, "--stop")
    assert all(worker.poll() is None for worker in workers)
    user.cli(*serve, "--background")
    outputs = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 8
    assert any("answers again" in output for output in outputs)
    trials = json.loads(other.cli("trials", *storage, "--format", "json").stdout)
    assert [trial["state"] for trial in trials] == ["complete"] * 40
    assert "password authentication failed" in refused(url_file.read_text().strip(), password="wrong")
    user.cli(*serve, "--stop")
    user.cli(*serve, "--background", "--allow", "10.99.0.0/16")
    assert "no pg_hba.conf entry" in other.cli("status", *storage, exit_code=2).stderr
    user.cli(*serve, "--stop")
