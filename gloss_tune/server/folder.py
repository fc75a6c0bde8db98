"""The folder of a server: what lies where in it, its settings from one start to the next, and who may look.

DIR/data/           Postgres's own
DIR/server.json     settings and password, for the owner alone
DIR/url             the storage's URL, for the owner alone: what every command takes as @DIR/url
DIR/tls/            certificate and key
DIR/log/            of a week
DIR/backups/        the last few
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from gloss_tune.atomic import OWNER_ALONE, write_secret
from gloss_tune.errors import InputError
from gloss_tune.filesystem import nonlocal_filesystem
from gloss_tune.server.network import AUTO, HERE
from gloss_tune.storage.sqlite_file import is_forced

#: The one role that may log in, and the one database that it may use.
ROLE = DATABASE = "gloss_tune"
_OURS = {"data", "data.part", "server.json", "url", "tls", "log", "backups", "lock"}


@dataclass(frozen=True)
class Settings:
    """How a server runs; what is not said at a start is as it was at the one before.

    Args:
        password: of the one role that may log in.
        port: that it listens on.
        listen: the address for other machines, as given; None for this machine alone.
        address: what that means now.
        allow: networks whose machines may connect; empty for those that this machine is part of.
        url_file: where else the URL is written to; None for nowhere.
        connections: how many there may be at once.
        tls: by which certificate; empty where there is none.
        host: the machine that it was started on last.
    """

    password: str
    port: int
    listen: str | None = None
    address: str | None = None
    allow: tuple[str, ...] = ()
    url_file: str | None = None
    connections: int = 200
    tls: str = ""
    host: str = ""

    @property
    def url(self) -> str:
        """The storage's URL, password included."""
        host = (
            HERE
            if self.address is None
            else self.address
            if self.listen in (None, AUTO)
            else str(self.listen)
        )
        shown = f"[{host}]" if ":" in host else host
        asked = "sslmode=require&channel_binding=require" if self.tls else "sslmode=disable"
        return f"postgresql://{ROLE}:{self.password}@{shown}:{self.port}/{DATABASE}?{asked}"


@dataclass(frozen=True)
class Folder:
    """A server's folder.

    Args:
        path: absolute.
    """

    path: Path

    @property
    def data(self) -> Path:
        """Postgres's own folder."""
        return self.path / "data"

    @property
    def url(self) -> Path:
        """The file with the storage's URL."""
        return self.path / "url"

    @property
    def backups(self) -> Path:
        """Where dumps are kept."""
        return self.path / "backups"

    @property
    def log(self) -> Path:
        """Where the server writes what happens."""
        return self.path / "log"

    @property
    def tls(self) -> Path:
        """Where certificate and key are."""
        return self.path / "tls"

    def read_settings(self) -> Settings | None:
        """Those of the last start; None where there are none that could be read."""
        try:
            stored: dict[str, Any] = json.loads((self.path / "server.json").read_text(encoding="utf-8"))
            known = {field.name for field in fields(Settings)}
            found = Settings(**{key: value for key, value in stored.items() if key in known})
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, AttributeError):
            return None
        return replace(found, allow=tuple(found.allow))

    def write_settings(self, settings: Settings) -> None:
        """Keep them for the next start."""
        write_secret(self.path / "server.json", json.dumps(asdict(settings), indent=2) + "\n")


def existing_folder(path: Path) -> Folder:
    """The folder of a server that was made.

    Raises:
        InputError: there is none.
    """
    folder = Folder(_absolute(path))
    try:
        is_there = (folder.data / "PG_VERSION").exists()
    except OSError as error:
        raise InputError(
            f"{folder.path} may not be read by this user ({error.strerror}); name another --dir"
        ) from None
    if not is_there:
        raise InputError(
            f"{folder.path} is no folder of a server; 'gloss-tune storage serve --dir DIR' makes one"
        )
    return folder


def open_folder(path: Path) -> Folder:
    """The folder of a server, made if it is not there, closed to everybody else.

    Raises:
        InputError: it cannot be one.
    """
    folder = Folder(_absolute(path))
    kind = None if is_forced() else nonlocal_filesystem(folder.path)
    if kind is not None:
        raise InputError(
            f"{folder.path} lies on a file system that is not known to be a local one ({kind}), on which a database "
            "can be damaged; name a --dir on a disk of this machine, such as /var/tmp/NAME, and --url-file for the "
            "cluster; --force (GLOSS_TUNE_FORCE=1) uses it all the same, from one machine"
        )
    try:
        folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = {entry.name for entry in folder.path.iterdir()}
        strange = sorted(name for name in found - _OURS if not name.startswith("."))
        if strange:
            raise InputError(
                f"A server's --dir is new, empty, or a server's already; {folder.path} holds {strange[0]}; name another"
            )
        if folder.path.stat().st_uid != os.geteuid():
            raise InputError(f"{folder.path} belongs to another user; name a --dir of your own")
        folder.path.chmod(stat.S_IRWXU)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"A server's --dir is a folder, and {folder.path} is none; name another") from None
    except OSError as error:
        raise InputError(
            f"{folder.path} cannot be a server's --dir ({error.strerror}); name another"
        ) from None
    return folder


def _absolute(path: Path) -> Path:
    found = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - resolve() would follow links
    if any(character < " " for character in str(found)):
        raise InputError(f"A server's --dir is a path of one line; got {str(found)!r}")
    return found


@contextmanager
def locked(folder: Folder) -> Iterator[None]:
    """Start and stop one at a time, whoever asks for it."""
    import fcntl

    descriptor = os.open(folder.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ALONE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
