"""What Postgres needs to begin: its data, one role, one database, its settings, and who may come in."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from gloss_tune.errors import GlossTuneError, InputError
from gloss_tune.server.certificate import certificate_paths
from gloss_tune.server.folder import DATABASE, ROLE, Folder, Settings
from gloss_tune.server.network import HERE
from gloss_tune.storage.postgres_programs import Release, releases

# owns everything, and cannot log in: no rule lets it, and it has no password
_OWNER = "postgres"
_ANSWER_SECONDS = 300.0
_SETTINGS = """\
# Written at each start of 'gloss-tune storage serve'.
listen_addresses = '{addresses}'
port = {port}
unix_socket_directories = ''
max_connections = {connections}
password_encryption = 'scram-sha-256'
{tls}
shared_buffers = '128MB'
max_wal_size = '256MB'
wal_level = minimal
max_wal_senders = 0
max_parallel_workers_per_gather = 0
jit = off
timezone = 'UTC'
tcp_keepalives_idle = 60
tcp_keepalives_interval = 10
tcp_keepalives_count = 6
logging_collector = on
log_directory = '{log}'
log_filename = 'postgres-%a.log'
log_truncate_on_rotation = on
log_rotation_age = '1d'
log_rotation_size = 0
log_timezone = 'UTC'
log_min_error_statement = panic
"""


def choose_release(folder: Folder) -> Release:
    """Whose server runs on a folder: that of the release which made its data, else the first that is found.

    Raises:
        InputError: there is none.
    """
    found = releases("postgres", "initdb")
    made_by = _made_by(folder)
    fitting = [release for release in found if made_by is None or release.major == made_by]
    if fitting:
        return fitting[0]
    if made_by is not None:
        here = ", ".join(str(release.major) for release in found) or "none"
        raise InputError(
            f"{folder.path} was made by Postgres {made_by}, and this machine has {here}; install postgresql-{made_by}, "
            f"or serve another --dir and restore the newest of {folder.backups} into it ('gloss-tune storage restore')"
        )
    raise InputError(
        "There is no Postgres server on this machine; install one (Debian: apt install postgresql), or "
        "pip install 'gloss-tune[server]'"
    )


def _made_by(folder: Folder) -> int | None:
    try:
        return int((folder.data / "PG_VERSION").read_text(encoding="ascii").split(".")[0])
    except (OSError, ValueError):
        return None


def can_encrypt(folder: Folder, release: Release) -> bool:
    """Whether a server was built with TLS, which its data are needed to ask."""
    done = subprocess.run(
        [release.program("postgres"), "-D", str(folder.data), "-c", "ssl=off", "-C", "ssl_library"],
        capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False,
    )  # fmt: skip
    return done.stdout.strip() not in ("", "(disabled)")


def ensure_database(folder: Folder, release: Release, password: str) -> None:
    """Make role and database where there are no data yet; they are there whole, or not at all.

    Raises:
        GlossTuneError: Postgres cannot; the message says why.
    """
    if folder.data.exists():
        return
    part = folder.path / "data.part"
    shutil.rmtree(part, ignore_errors=True)  # of one that was killed
    try:
        _run(
            [release.program("initdb"), "--pgdata", str(part), "--username", _OWNER, "--auth", "reject",
             "--encoding", "UTF8", "--no-locale", "--data-checksums"]
        )  # fmt: skip
        _command(release, part, [f"CREATE ROLE {ROLE} LOGIN", f"CREATE DATABASE {DATABASE} OWNER {ROLE}"])
        set_password(release, part, password)
        part.rename(folder.data)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def set_password(release: Release, data: Path, password: str) -> None:
    """Give the role a password, while no server runs on its data."""
    _command(release, data, [f"ALTER ROLE {ROLE} PASSWORD '{password}'"])


def write_settings(folder: Folder, settings: Settings) -> None:
    """Write what Postgres reads at its start."""
    certificate, key = certificate_paths(folder)
    tls = (
        f"ssl = on\nssl_cert_file = '{_text(certificate)}'\nssl_key_file = '{_text(key)}'"
        if settings.tls
        else ""
    )
    text = _SETTINGS.format(
        addresses=",".join(listened(settings.address)), port=settings.port, connections=settings.connections, tls=tls,
        log=_text(folder.log),
    )  # fmt: skip
    kind = "hostssl" if settings.tls else "host"
    networks = ["127.0.0.1/32"]
    if settings.address is not None:
        networks += ["samehost", *(settings.allow or ("samenet",))]
    rules = [f"{kind} {DATABASE} {ROLE} {network} scram-sha-256" for network in networks]
    _write(folder.data / "postgresql.conf", text)
    _write(folder.data / "pg_hba.conf", "\n".join(rules) + "\n")


def listened(address: str | None) -> list[str]:
    """All addresses that a server listens on."""
    return [HERE] if address is None else [HERE, address]


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _text(path: Path) -> str:
    """A path between the quotes of Postgres's settings."""
    return str(path).replace("\\", "\\\\").replace("'", "''")


def _command(release: Release, data: Path, statements: Sequence[str]) -> None:
    """Have Postgres do something without a server, to which nobody can connect meanwhile."""
    command = [release.program("postgres"), "--single", "-D", str(data), "-c", "exit_on_error=true"]
    command += [
        "-c",
        "password_encryption=scram-sha-256",
        "-c",
        "logging_collector=off",
        "-c",
        "ssl=off",
        "postgres",
    ]
    _run(command, "".join(f"{statement}\n" for statement in statements))


def _run(command: list[str], given: str = "") -> None:
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, env=environment, timeout=_ANSWER_SECONDS,
        start_new_session=True, check=False,
    )  # fmt: skip
    trouble = [
        line for line in done.stderr.splitlines() if "error:" in line or "ERROR:" in line or "FATAL:" in line
    ]
    if done.returncode or trouble:
        said = trouble or done.stderr.strip().splitlines() or ["it said nothing"]
        raise GlossTuneError(
            f"{Path(command[0]).name} does not succeed: {said[0].strip()}. Mend that and repeat"
        )
