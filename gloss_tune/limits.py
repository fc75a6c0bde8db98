"""Limits that the machine or a job sets to a process, and which of them an error is about."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

from gloss_tune.errors import InputError

# torch and what comes with it take up 2.3 GB of addresses before the first step, most of which no memory stands behind;
# where they run out, libraries hang or end the process without a word
_ADDRESSES_FOR_TRAINING = 4 * 10**9
# files that SQLite, a driver or an import may need at once
_FILES_AT_ONCE = 5


def limit_reached(error: BaseException) -> str | None:
    """What a process ran out of, and the next step, in one sentence; None if an error is about something else.

    Such trouble comes in many clothes: a ``MemoryError``, a library that cannot be loaded, a thread that cannot be
    started, a file that cannot be opened.

    Args:
        error: looked at with all errors that led to it.
    """
    for cause in _causes(error):
        text = str(cause).lower()
        code = cause.errno if isinstance(cause, OSError) else None
        if code in (errno.EMFILE, errno.ENFILE) or "too many open files" in text:
            return _TOO_MANY_FILES + _set("RLIMIT_NOFILE", "ulimit -n")
        if "unable to open database file" in text and (reached := files_used_up()):  # all that SQLite says
            return reached
        if "can't start new thread" in text or "pthread_create" in text or code == errno.EAGAIN:
            return f"No more threads or processes can be started{_set('RLIMIT_NPROC', 'ulimit -u')}"
        no_room = "cannot allocate memory" in text or "failed to map segment" in text
        if isinstance(cause, MemoryError) or code == errno.ENOMEM or no_room:
            return f"There is no memory left{_set('RLIMIT_AS', 'ulimit -v')}"
    return None


def files_used_up() -> str | None:
    """As :func:`limit_reached`, where a library has hidden that no more files can be opened; None if they can."""
    with contextlib.ExitStack() as opened:
        try:
            for _ in range(_FILES_AT_ONCE):
                opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                return _TOO_MANY_FILES + _set("RLIMIT_NOFILE", "ulimit -n")
    return None


def ensure_files(needed: int) -> None:
    """See to it that this process and its children may open so many files, as far as they may raise their limit.

    Raises:
        InputError: they may not.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise InputError(
            f"So many workers need at least {needed} files open at once, got a limit of {hard}; raise it by "
            "'ulimit -n', or start fewer workers, and repeat"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def check_addresses_for_training() -> None:
    """Whether this process may use as many addresses as a training takes up.

    Raises:
        InputError: its limit is lower.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY and soft < _ADDRESSES_FOR_TRAINING:
        raise InputError(
            f"A training needs at least {_ADDRESSES_FOR_TRAINING:,} bytes of addresses, got a limit of {soft:,}; raise "
            "it by 'ulimit -v' (or take it away: 'ulimit -v unlimited'), and repeat"
        )


_TOO_MANY_FILES = "Too many files are open at once"


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _set(name: str, command: str) -> str:
    """Of which limit that is, where one is set."""
    if sys.platform == "win32":
        return "; end what else runs, and repeat"
    import resource

    soft, _ = resource.getrlimit(getattr(resource, name))
    if soft == resource.RLIM_INFINITY:
        return "; end what else runs, or ask for more, and repeat"
    return f" (the limit is {soft:,}{' bytes' if name == 'RLIMIT_AS' else ''}); raise it by '{command}', and repeat"
