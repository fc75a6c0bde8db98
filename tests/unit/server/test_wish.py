"""What is asked of a server is refused before anything is started where it cannot be had, or would be open to all."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gloss_tune.errors import InputError
from gloss_tune.server import database, serve
from gloss_tune.server.folder import Folder, Settings, open_folder
from gloss_tune.server.network import check_networks, choose_port, resolve_listen
from gloss_tune.server.serve import start_server, stop_server
from gloss_tune.server.wish import Wish, settled, unchanged
from gloss_tune.storage.postgres_programs import Release

check_user = serve._check_user


@pytest.fixture(autouse=True)
def any_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root too gets to the refusals; nothing here starts a server."""
    monkeypatch.setattr(serve, "_check_user", lambda: None)
    monkeypatch.setattr(serve, "ensure_database", lambda *_: pytest.fail("a database would be made"))


def test_a_folder_is_new_empty_or_a_servers(tmp_path: Path) -> None:
    file, full = tmp_path / "file", tmp_path / "full"
    file.touch()
    full.mkdir()
    (full / "thesis.tex").touch()
    for path, reason in (
        (file, "is a folder, and .* is none"),
        (file / "below", "is a folder, and .* is none"),
        (full, "holds thesis.tex; name another"),
        (tmp_path / "two\nlines", "a path of one line"),
        (tmp_path / ("x" * 300), r"cannot be a server's --dir \(File name too long\)"),
    ):
        with pytest.raises(InputError, match=reason):
            start_server(path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    with pytest.raises(InputError, match="Permission denied"):
        start_server(closed)


def test_a_folder_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir(mode=0o755)
    assert open_folder(tmp_path / "new").path.stat().st_mode & 0o777 == 0o700


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gloss_tune.server.folder.nonlocal_filesystem", lambda path: "nfs4")
    with pytest.raises(InputError, match=r"known to be a local one \(nfs4\).*--url-file for the cluster"):
        start_server(tmp_path / "dir")
    assert not (tmp_path / "dir").exists()
    monkeypatch.setenv("GLOSS_TUNE_FORCE", "1")
    assert open_folder(tmp_path / "dir").path.is_dir()


def test_never_as_root_and_never_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(InputError, match="does not run as root; start it as an ordinary user"):
        check_user()
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(InputError, match="user 54321 has none"):
        check_user()


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "*"])
def test_it_listens_nowhere_in_general(address: str) -> None:
    with pytest.raises(InputError, match=r"--listen (names the one address|is an address)"):
        resolve_listen(address)


def test_it_listens_on_this_machines_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"192\.0\.2\.77 is no address of this machine"):
        resolve_listen("192.0.2.77")

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(InputError, match="an address or a name of this machine, or auto; got 'typo'"):
        resolve_listen("typo")


def test_this_machine_alone_is_no_address_for_others() -> None:
    assert resolve_listen("127.0.0.1") is None
    assert resolve_listen("localhost") is None


def test_auto_finds_an_address_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gloss_tune.server.network._own", lambda: ["127.0.0.1", "::1", "fd00::7", "10.9.8.7"])
    assert resolve_listen("auto") == "10.9.8.7"
    monkeypatch.setattr("gloss_tune.server.network._own", lambda: ["127.0.0.1", "fe80::1"])
    with pytest.raises(InputError, match=r"has no address but 127\.0\.0\.1"):
        resolve_listen("auto")


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "all", "10.1.0.0/33", "samenet", ""])
def test_not_everybody_is_let_in(network: str) -> None:
    with pytest.raises(InputError, match=r"--allow"):
        check_networks([network])


def test_networks_are_written_as_postgres_has_them() -> None:
    assert check_networks(["10.1.2.3/16", "fd00::/8", "10.0.0.9"]) == (
        "10.1.0.0/16",
        "fd00::/8",
        "10.0.0.9/32",
    )
    with pytest.raises(InputError, match="add --listen"):
        settled(Wish(allow=("10.1.0.0/16",)), None)


def test_a_port_that_is_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"Port {port} of 127\.0\.0\.1 cannot be had \(it is in use\)"):
            start_server(tmp_path / "dir", Wish(port=port))
        assert choose_port(["127.0.0.1"], None) != port


def test_what_is_not_said_stays(tmp_path: Path) -> None:
    first = settled(Wish(url_file=tmp_path / "url", connections=50), None)
    assert len(first.password) >= 32
    again = settled(Wish(), first)
    assert again == first
    folder = Folder(tmp_path)
    folder.write_settings(first)
    assert folder.read_settings() == first
    assert (tmp_path / "server.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "server.json").write_text("{torn")
    assert folder.read_settings() is None


def test_a_server_that_runs_keeps_its_settings(tmp_path: Path) -> None:
    before = Settings("secret", 15432, listen="auto", address="10.0.0.1")
    folder = Folder(tmp_path)
    assert unchanged(folder, Wish(listen="auto", port=15432), before) == before
    for wish in (Wish(port=1), Wish(listen="localhost"), Wish(allow=("10.0.0.0/8",)), Wish(connections=7)):
        with pytest.raises(InputError, match=r"runs on .* already, with --.* stop it first"):
            unchanged(folder, wish, before)


def test_a_url_file_replaces_nothing_else(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("x")
    for path, reason in (
        (precious, "holds something else"),
        (tmp_path, "cannot be written to"),
        (tmp_path / "nowhere" / "url", "a folder that you may write to"),
    ):
        with pytest.raises(InputError, match=reason):
            settled(Wish(url_file=path), None)


def test_the_url_asks_for_what_the_server_has() -> None:
    url = Settings("p", 1, tls="openssl").url
    assert url == "postgresql://gloss_tune:p@127.0.0.1:1/gloss_tune?sslmode=require&channel_binding=require"
    assert Settings("p", 1).url.endswith("?sslmode=disable")
    assert "@[fd00::1]:1/" in Settings("p", 1, listen="auto", address="fd00::1").url
    assert "@login1:1/" in Settings("p", 1, listen="login1", address="10.0.0.1").url


def test_rules_name_one_role_one_database_and_no_network_of_all(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.data.mkdir()
    for settings, expected in (
        (Settings("p", 1, tls="openssl"), ["127.0.0.1/32"]),
        (Settings("p", 1, tls="openssl", address="10.0.0.1"), ["127.0.0.1/32", "samehost", "samenet"]),
        (
            Settings("p", 1, address="10.0.0.1", allow=("10.0.0.0/8",)),
            ["127.0.0.1/32", "samehost", "10.0.0.0/8"],
        ),
    ):
        database.write_settings(folder, settings)
        rules = [line.split() for line in (folder.data / "pg_hba.conf").read_text().splitlines()]
        kind = "hostssl" if settings.tls else "host"
        assert rules == [[kind, "gloss_tune", "gloss_tune", network, "scram-sha-256"] for network in expected]
        text = (folder.data / "postgresql.conf").read_text()
        assert "unix_socket_directories = ''" in text
        assert f"listen_addresses = '127.0.0.1{',10.0.0.1' if settings.address else ''}'" in text


def test_data_of_another_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    folder.data.mkdir()
    found = [Release(tmp_path, 17), Release(tmp_path, 15)]
    monkeypatch.setattr(database, "releases", lambda *_: found)
    assert database.choose_release(folder).major == 17
    (folder.data / "PG_VERSION").write_text("15\n")
    assert database.choose_release(folder).major == 15
    (folder.data / "PG_VERSION").write_text("16\n")
    with pytest.raises(
        InputError, match="made by Postgres 16, and this machine has 17, 15; install postgresql-16"
    ):
        database.choose_release(folder)
    found.clear()
    (folder.data / "PG_VERSION").unlink()
    with pytest.raises(InputError, match=r"no Postgres server on this machine.*gloss-tune\[server\]"):
        database.choose_release(folder)


def test_nothing_is_stopped_where_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder of a server"):
        stop_server(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("15\n")
    for left in ("", "nonsense", f"{os.getpid()}\n", "4194301\n"):  # another process's id, and none's
        (tmp_path / "data" / "postmaster.pid").write_text(left)
        with pytest.raises(InputError, match="No server runs on"):
            stop_server(tmp_path)
        assert not (tmp_path / "data" / "postmaster.pid").exists()
