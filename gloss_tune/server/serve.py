"""A server started, found running, and stopped, with a dump of what it holds.

It is a process of its own and outlives whoever started it. Of two that ask for the same at once, one does it.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gloss_tune.atomic import write_secret
from gloss_tune.errors import ExitCode, GlossTuneError, InputError, Interrupted
from gloss_tune.logging import logger
from gloss_tune.server.backups import keep_dump
from gloss_tune.server.certificate import ensure_certificate
from gloss_tune.server.database import (
    can_encrypt,
    choose_release,
    ensure_database,
    set_password,
    write_settings,
)
from gloss_tune.server.folder import DATABASE, ROLE, Folder, Settings, existing_folder, locked, open_folder
from gloss_tune.server.network import HERE, warn_if_public
from gloss_tune.server.postmaster import Postmaster, find_postmaster, start_postmaster
from gloss_tune.server.wish import Wish, settled, unchanged
from gloss_tune.signals import StopFlag

_START_SECONDS = 300.0
_PAUSE = 0.05


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Args:
        folder: where it lives.
        settings: how it runs.
        postmaster: its process.
        is_new: whether this call started it.
    """

    folder: Folder
    settings: Settings
    postmaster: Postmaster
    is_new: bool

    @property
    def url_file(self) -> Path:
        """With the storage's URL: ``@FILE`` is what commands take."""
        return Path(self.settings.url_file) if self.settings.url_file else self.folder.url

    @property
    def address(self) -> str:
        """Host and port, for people."""
        return f"{self.settings.address or HERE} port {self.settings.port}"


def start_server(
    path: Path, wish: Wish | None = None, must_stop: Callable[[], bool] = lambda: False
) -> Server:
    """Start a server, or find it running.

    Args:
        path: its folder, made if it is not there.
        wish: what is to be otherwise than at the last start.
        must_stop: asked while it starts; True ends that.

    Raises:
        InputError: something is wrong with what was asked for; no server was started.
        GlossTuneError: it does not start; the message says why.
        Interrupted: it was to stop.
    """
    _check_user()
    wish = wish or Wish()
    folder = open_folder(path)
    with locked(folder):
        before = folder.read_settings()
        _check_not_elsewhere(folder, before)
        running = find_postmaster(folder)
        if running is not None:
            settings = unchanged(folder, wish, before)
            _write_url(folder, settings)
            return Server(folder, settings, running, is_new=False)
        settings = settled(wish, before)
        release = choose_release(folder)
        was_there = folder.data.exists()
        ensure_database(folder, release, settings.password)
        if was_there and before is None:  # the old password went with server.json
            set_password(release, folder.data, settings.password)
        settings = replace(settings, tls=ensure_certificate(folder) if can_encrypt(folder, release) else "")
        folder.write_settings(settings)
        write_settings(folder, settings)
        postmaster = start_postmaster(folder, release)
        try:
            _wait_until_ready(folder, settings, postmaster, must_stop)
            _write_url(folder, settings)
        except BaseException:
            postmaster.stop()
            raise
    if settings.address is not None:
        warn_if_public(settings.address)
        if not settings.tls:
            logger.warning(
                "No TLS here: the password stays secret, what else goes over the network does not."
            )
    return Server(folder, settings, postmaster, is_new=True)


def stop_server(path: Path, must_stop: Callable[[], bool] = lambda: False) -> Path | None:
    """Keep a dump of what a server holds, and stop it; what works on it waits for its return.

    Args:
        path: its folder.
        must_stop: asked meanwhile; True stops it at once, without a dump.

    Returns:
        The dump; None where there is none.

    Raises:
        InputError: there is no such folder, or no server runs on it.
    """
    folder = existing_folder(path)
    with locked(folder):
        running = find_postmaster(folder)
        if running is None:
            raise InputError(
                f"No server runs on {folder.path} on this machine; 'gloss-tune storage serve' starts it"
            )
        dump = keep_dump(folder, must_stop)
        running.stop()
        return dump


def serve(path: Path, wish: Wish, stop: StopFlag, ready: Callable[[Server], None]) -> int:
    """Start a server and stay with it until a signal, or somebody else, stops it.

    Args:
        path: its folder.
        wish: as :func:`start_server` takes it.
        stop: set by signals; the second one stops the server without a dump.
        ready: called once it answers; one that ran before is left alone.

    Returns:
        The exit code.

    Raises:
        GlossTuneError: as :func:`start_server` does, or the server has ended by itself.
    """
    stop.served = True
    try:
        server = start_server(path, wish, lambda: stop.signum is not None)
    except Interrupted:
        return stop.exit_code
    ready(server)
    while server.is_new and stop.signum is None and server.postmaster.is_running:
        time.sleep(_PAUSE)
    if not server.is_new or stop.signum is None:
        if server.is_new and (server.folder.data / "postmaster.pid").exists():
            raise GlossTuneError(f"The server has ended: {_last_words(server.folder)}. Start it again")
        return ExitCode.DONE
    try:
        stop_server(path, lambda: stop.at_once)
    except InputError:  # somebody else was faster
        logger.info("The server is stopped already.")
    return stop.exit_code


def _check_user() -> None:
    if not hasattr(os, "geteuid"):
        raise InputError(
            "A server is started on Linux, macOS or another Unix; this is Windows; use one that is there"
        )
    if os.geteuid() == 0:
        raise InputError(
            "Postgres does not run as root; start it as an ordinary user, as by 'runuser -u NAME -- gloss-tune storage "
            "serve --dir DIR', with a DIR that this user can make"
        )
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise InputError(
            f"Postgres wants a user with a name, and user {os.geteuid()} has none; add it to /etc/passwd"
        ) from None
    if importlib.util.find_spec("psycopg") is None:
        raise InputError("A server needs the package psycopg; pip install 'gloss-tune[server]'")


def _write_url(folder: Folder, settings: Settings) -> None:
    for place in [folder.url, *([Path(settings.url_file)] if settings.url_file else [])]:
        if not place.exists() or place.read_text(encoding="utf-8") != settings.url + "\n":
            write_secret(place, settings.url + "\n")


def _check_not_elsewhere(folder: Folder, before: Settings | None) -> None:
    """Where machines share the folder, the process of another one's server cannot be seen: it is knocked at."""
    if before is None or before.host == socket.gethostname() or not before.address:
        return
    if (folder.data / "postmaster.pid").exists() and _why_not_answering(before, before.address) is None:
        raise InputError(f"A server runs on {folder.path} on {before.host}; stop it there first")


def _wait_until_ready(
    folder: Folder, settings: Settings, postmaster: Postmaster, must_stop: Callable[[], bool]
) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while (reason := _why_not_answering(settings, HERE)) is not None:
        if must_stop():
            raise Interrupted("The server was to stop while it started")
        if "password authentication failed" in reason:
            raise GlossTuneError(
                f"The password in {folder.path}/server.json is not the server's; remove that file, and start again"
            )
        if not postmaster.is_running:
            raise GlossTuneError(f"The server does not start: {_last_words(folder)}. Mend that and repeat")
        if time.monotonic() > deadline:
            raise GlossTuneError(
                f"The server has not answered for {_START_SECONDS:.0f} s: {reason}; see {folder.log}"
            )
        time.sleep(_PAUSE)


def _why_not_answering(settings: Settings, host: str) -> str | None:
    import psycopg

    secure: dict[str, Any] = {"sslmode": "require" if settings.tls else "disable"}
    try:
        psycopg.connect(
            host=host, port=settings.port, user=ROLE, password=settings.password, dbname=DATABASE,
            connect_timeout=5, **secure,
        ).close()  # fmt: skip
    except psycopg.OperationalError as error:
        return str(error).strip() or "it does not answer"
    return None


def _last_words(folder: Folder) -> str:
    """Why a server ended, from what it has written since its start."""
    logs = sorted(folder.log.glob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in logs[:2]:
        text = path.read_text(encoding="utf-8", errors="replace").rpartition("starting PostgreSQL")[-1]
        said = [line for line in text.splitlines() if "FATAL:" in line or "PANIC:" in line]
        if said:
            return said[-1].split("FATAL:")[-1].split("PANIC:")[-1].strip()
    return f"it says nothing; see {folder.log}"
