"""What a user asks of a server, checked against this machine and against how the server ran before."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass, replace
from pathlib import Path

from gloss_tune.errors import InputError
from gloss_tune.server.database import listened
from gloss_tune.server.folder import Folder, Settings
from gloss_tune.server.network import check_networks, choose_port, resolve_listen


@dataclass(frozen=True)
class Wish:
    """What a user says of a server; what is None or empty stays as it was at the last start.

    Args:
        listen: address for other machines, or ``auto``; ``localhost`` for none.
        port: that it listens on; by default one that is free when the folder is made.
        allow: networks whose machines may connect, as ``10.1.0.0/16``; by default those of this machine.
        url_file: where to write the storage's URL besides the folder, such as on a shared disk.
        connections: how many there may be at once; by default 200.
    """

    listen: str | None = None
    port: int | None = None
    allow: tuple[str, ...] = ()
    url_file: Path | None = None
    connections: int | None = None


def settled(wish: Wish, before: Settings | None) -> Settings:
    """What a start goes by, checked."""
    last = before or Settings(password=secrets.token_urlsafe(24), port=0)
    listen = wish.listen or last.listen
    address = None if listen is None else resolve_listen(listen)
    if wish.allow and address is None:
        raise InputError(
            "--allow is for a server that other machines reach; add --listen ADDRESS, or leave it out"
        )
    return replace(
        last,
        port=choose_port(listened(address), wish.port or last.port or None),
        listen=None if address is None else listen,
        address=address,
        allow=check_networks(wish.allow) if wish.allow else last.allow,
        url_file=_checked_url_file(wish.url_file) if wish.url_file else last.url_file,
        connections=wish.connections or last.connections,
        host=socket.gethostname(),
    )


def unchanged(folder: Folder, wish: Wish, before: Settings | None) -> Settings:
    """The settings of a server that runs, unless others are asked for."""
    if before is None:
        raise InputError(
            f"A server runs on {folder.path}, whose server.json is gone; stop it ('gloss-tune storage serve --stop "
            f"--dir {folder.path}') and start it again, with a new password"
        )
    asked = {
        "--listen": (wish.listen, before.listen),
        "--port": (wish.port, before.port),
        "--allow": (check_networks(wish.allow), before.allow),
        "--url-file": (wish.url_file and _checked_url_file(wish.url_file), before.url_file),
        "--max-connections": (wish.connections, before.connections),
    }
    for option, (wanted, has) in asked.items():
        if wanted and wanted != has:
            shown = ", ".join(has) if isinstance(has, tuple) else has
            raise InputError(
                f"A server runs on {folder.path} already, with {option} {shown or 'not given'}; stop it first "
                "('gloss-tune storage serve --stop')"
            )
    return before


def _checked_url_file(path: Path) -> str:
    """Where to write the URL, unless something else is there."""
    place = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - resolve() would follow links
    try:
        if not place.parent.is_dir() or not os.access(place.parent, os.W_OK | os.X_OK):
            raise InputError(f"--url-file is a file in a folder that you may write to; got {place}")
        if place.exists() and not place.read_text(encoding="utf-8").startswith("postgresql"):
            raise InputError(f"--url-file {place} is there and holds something else than a URL; name another")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text file"
        raise InputError(f"--url-file {place} cannot be written to ({reason}); name another") from None
    return str(place)
