"""A database's password shows nowhere: not in output, not in the database, not in files, not in the process list."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy

from tests.acceptance.conftest import Commands, until
from tests.integration.studies import contents

REHEARSAL = ("--dataset", "mr", "--rehearse")


@pytest.mark.timeout(90)
@pytest.mark.postgres
@pytest.mark.parametrize("in_query", [False, True], ids=["user:password@", "?password="])
def test_the_password_shows_nowhere(commands: Commands, postgres_url: str, in_query: bool) -> None:
    url = sqlalchemy.make_url(postgres_url)
    password = url.password
    assert isinstance(password, str)
    if in_query:
        url = url.set(username=None, password=None).update_query_dict(
            {"user": url.username, "password": password}
        )
    commands.storage = url.render_as_string(hide_password=False)
    wrong = commands.storage.replace(password, f"{password}-not")

    processes = [
        commands("create", *REHEARSAL, "--trials", 2, "--rehearse-seconds", 0.5, "--format", "json"),
        commands("create", *REHEARSAL, "--trials", 2, "--rehearse-seconds", 0.5),
        commands("create", *REHEARSAL, "--trials", 3, exit_code=2),
        commands("status", env={"GLOSS_TUNE_STORAGE": wrong}, exit_code=2),
        commands(
            "status",
            env={"GLOSS_TUNE_STORAGE": commands.storage.replace("127.0.0.1", "127.0.0.1:1")},
            exit_code=2,
        ),
        commands("status", "--study", "other", exit_code=2),
        commands("export", exit_code=1),
    ]
    worker = commands.start("worker")
    until(lambda: "Trial 0" in worker.stderr)
    command_line = Path(f"/proc/{worker.pid}/cmdline")
    if command_line.exists():
        assert password.encode() not in command_line.read_bytes()
    processes.append(worker.ended(0))
    for arguments in (
        ("status",),
        ("status", "--format", "json"),
        ("trials", "--format", "json"),
        ("trials",),
    ):
        processes.append(commands(*arguments))
    for kind in ("json", "toml", "yaml", "args"):
        processes.append(commands("export", "--format", kind, "--output", f"best.{kind}"))

    for process in processes:
        assert password not in process.stdout, process.arguments
        assert password not in process.stderr, process.arguments
    assert password not in repr(contents(postgres_url))
    for path in commands.folder.rglob("*"):
        assert not path.is_file() or password.encode() not in path.read_bytes()
    assert str(url.port) in processes[0].stdout  # the rest of the address does show
