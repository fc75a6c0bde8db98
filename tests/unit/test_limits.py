"""Limits of a process, in words: no traceback, and what to raise."""

from __future__ import annotations

import errno
import resource
import sqlite3
from pathlib import Path

import pytest

import gloss_tune.cli as command_line
from gloss_tune.errors import InputError
from gloss_tune.limits import check_addresses_for_training, ensure_files, files_used_up, limit_reached


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


REACHED = [
    (MemoryError(), "no memory left"),
    (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "no memory left"),
    (
        ImportError("libc10.so: cannot allocate memory in static TLS block: Cannot allocate memory"),
        "no memory",
    ),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), "no memory left"),
    (RuntimeError("can't start new thread"), "No more threads"),
    (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "No more threads or processes"),
    (OSError(errno.EMFILE, "Too many open files"), "Too many files are open"),
    (
        ImportError("libblas.so: cannot open shared object file: Too many open files"),
        "Too many files are open",
    ),
    (caused(RuntimeError("no encoder"), MemoryError()), "no memory left"),
]


@pytest.mark.parametrize(("error", "words"), REACHED, ids=lambda value: str(value)[:40])
def test_what_a_process_ran_out_of(error: Exception, words: str) -> None:
    told = limit_reached(error)
    assert told is not None
    assert told.startswith(("There is ", "")[words[0].isupper()] + words)
    assert told.endswith("repeat")


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError(errno.ENOSPC, "No space left"), ImportError("No module named x")]
)
def test_other_trouble_is_none(error: Exception) -> None:
    assert limit_reached(error) is None


def test_a_limit_that_is_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1_500_000, 2_000_000))
    told = limit_reached(MemoryError())
    assert told == (
        "There is no memory left (the limit is 1,500,000 bytes); raise it by 'ulimit -v', and repeat"
    )


@pytest.mark.parametrize(("error", "words"), REACHED, ids=lambda value: str(value)[:40])
def test_a_command_ends_with_one_line_and_1(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(command_line, "app", fail)
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_other_errors_of_a_command_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr(command_line, "app", fail)
    with pytest.raises(ValueError, match="a fault of ours"):
        command_line.main()


@pytest.mark.parametrize(
    ("limit", "enough"), [(1_000_000_000, False), (4_000_000_000, True), (resource.RLIM_INFINITY, True)]
)
def test_a_training_that_has_too_few_addresses_is_refused(
    limit: int, enough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries that run out of them hang, or end the process without a word."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    if enough:
        check_addresses_for_training()
    else:
        with pytest.raises(InputError, match="ulimit -v"):
            check_addresses_for_training()


def test_sqlite_without_a_file_to_be_had_is_told_from_a_missing_file(monkeypatch: pytest.MonkeyPatch) -> None:
    error = sqlite3.OperationalError("unable to open database file")
    assert limit_reached(error) is None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 1, hard))
    try:
        told, used_up = limit_reached(error), files_used_up()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert told is not None
    assert told.startswith("Too many files are open at once (the limit is ")
    assert told == used_up
    assert files_used_up() is None


def test_a_limit_of_files_is_raised_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(20, 400)]
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda which, new: limits.append(new))
    ensure_files(20)
    assert limits == [(20, 400)]
    ensure_files(88)
    assert limits[-1] == (88, 400)
    with pytest.raises(InputError, match="at least 401 files open at once, got a limit of 400; raise it by"):
        ensure_files(401)
    limits.append((resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ensure_files(10**6)
    assert limits[-1] == (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
