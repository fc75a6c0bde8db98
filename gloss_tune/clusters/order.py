"""What a cluster is asked for, checked before anything is submitted, and the command that each of its jobs runs."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gloss_tune.errors import InputError
from gloss_tune.finetune.cards import is_device_name
from gloss_tune.logging import logger
from gloss_tune.storage.url import parse_storage_url
from gloss_tune.study.results import epoch_seconds
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.tracking import named_trackers

_UNITS = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024 * 1024}
_MOST_MEMORY = 1024**3  # MiB: a pebibyte
_LONGEST_GRACE = 86_400
_HERE_ONLY = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Wish:
    """What a user asks of an engine, as given.

    Args:
        workers: how many; must be said.
        gpus: of each worker; None for one, and for none in a rehearsal or on ``--device cpu``.
        cpus: of each worker.
        memory: of each worker, as in ``16G``; None for the engine's own default.
        grace: seconds from a SIGTERM to the worker's end.
        artifacts: folder that all nodes reach.
        data_dir: folder of data sets, by the same path on all nodes.
        device: of each worker.
        threads: of each worker; None for its CPUs.
        max_trials: after which a worker leaves.
        timeout: seconds after which a worker begins no trial.
        track: names of trackers.
    """

    workers: int | None = None
    gpus: int | None = None
    cpus: int = 4
    memory: str | None = None
    grace: float = 5.0
    artifacts: Path | None = None
    data_dir: Path | None = None
    device: str = "auto"
    threads: int | None = None
    max_trials: int | None = None
    timeout: float | None = None
    track: Sequence[str] = ()


@dataclass(frozen=True)
class WorkerOrder:
    """What every worker of a study gets, the same on all engines.

    Args:
        study: its name.
        files: its name beyond this storage: jobs are called by it.
        workers: how many.
        gpus: of each.
        cpus: of each.
        memory: MiB of each; None for the engine's own default.
        grace: seconds from a SIGTERM to the worker's end.
        artifacts: folder that all nodes reach.
        epoch_seconds: how long an epoch takes; None where nobody knows.
        arguments: of ``gloss-tune worker`` beyond storage, study, artifacts and threads.
        threads: of each; None for its CPUs.
        data_dir: folder of data sets, among the arguments too.
    """

    study: str
    files: str
    workers: int
    gpus: int
    cpus: int
    memory: int | None
    grace: float
    artifacts: str
    epoch_seconds: float | None
    arguments: tuple[str, ...]
    threads: int | None = None
    data_dir: str | None = None

    def command(self, storage: str, *, engine_tells_cpus: bool = False) -> list[str]:
        """The arguments of ``gloss-tune`` for one worker.

        Args:
            storage: where it finds the URL, as ``@FILE``.
            engine_tells_cpus: whether the engine itself tells a worker how many threads its CPUs are worth.
        """
        told = ["--storage", storage, "--study", self.study, "--artifacts", self.artifacts, *self.arguments]
        if self.threads is not None or not engine_tells_cpus:
            told += ["--threads", str(self.threads or self.cpus)]
        return ["worker", *told]


def place_order(
    opened: OpenStudy, storage: str, wish: Wish, engine: str, default_artifacts: str
) -> WorkerOrder:
    """Check what was asked for.

    Args:
        opened: the study.
        storage: its database, as given.
        wish: what is asked for.
        engine: its name, for messages.
        default_artifacts: the folder where none is named.

    Raises:
        InputError: a storage that other machines cannot share, a relative folder, a size that is none, a device or a
            tracker that no worker would take.
    """
    if wish.workers is None:
        raise InputError(f"How many workers on {engine}? Say --workers N")
    if not 0 <= wish.grace <= _LONGEST_GRACE:  # so that what is no number is none
        raise InputError(
            f"--grace is seconds, a day ({_LONGEST_GRACE}) at most, on {engine}; got {wish.grace:g}"
        )
    if not is_device_name(wish.device):
        raise InputError(
            f"--device is one for each worker on {engine}: auto, cpu, cuda:N, GPU-… or MIG-…; got {wish.device!r}"
        )
    _check_shared(opened, storage, engine)
    gpus = wish.gpus
    if gpus is None:
        gpus = 0 if opened.spec.rehearse or wish.device == "cpu" else 1
    arguments = ["--leave-when-empty", "--grace", f"{wish.grace:g}"]
    if wish.device != "auto":
        arguments += ["--device", wish.device]
    data_dir = None
    if wish.data_dir is not None:
        data_dir = _one_line("--data-dir", str(wish.data_dir.expanduser().absolute()))
        arguments += ["--data-dir", data_dir]
    if wish.max_trials is not None:
        arguments += ["--max-trials", str(wish.max_trials)]
    if wish.timeout is not None:
        arguments += ["--timeout", f"{wish.timeout:g}"]
    for name in named_trackers(wish.track):
        arguments += ["--track", name]
    return WorkerOrder(
        study=opened.name,
        files=opened.files,
        workers=wish.workers,
        gpus=gpus,
        cpus=wish.cpus,
        memory=None if wish.memory is None else parse_memory(wish.memory),
        grace=wish.grace,
        artifacts=_checked_artifacts(wish.artifacts, default_artifacts, engine),
        epoch_seconds=epoch_seconds(opened),
        arguments=tuple(arguments),
        threads=wish.threads,
        data_dir=data_dir,
    )


def parse_memory(text: str) -> int:
    """MiB of ``512M``, ``16G``, ``16GiB`` or a number of MiB.

    Raises:
        InputError: for anything else, and below 1 MiB.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    found = 0 if match is None else float(match[1]) * _UNITS[match[2].upper() or "M"]
    if not 0 < found <= _MOST_MEMORY:
        raise InputError(f"--memory is a size as in 16G or 800M; got {text!r}")
    return math.ceil(found)


def _check_shared(opened: OpenStudy, storage: str, engine: str) -> None:
    url = parse_storage_url(storage)
    if url.get_backend_name() == "sqlite":
        raise InputError(
            f"Workers on {engine} run on many machines, and an SQLite file is safe on one alone; got "
            f"{opened.storage.redacted_url}. Create the study on Postgres, which all nodes reach: "
            "gloss-tune create … --storage @URLFILE"
        )
    host = str(url.query.get("host", url.host or ""))
    if host in _HERE_ONLY or not host or host.startswith("/"):
        logger.warning(
            "The storage's host is %s, which on every node is that node itself; name it as the nodes see it.",
            host or "not named",
        )


def _checked_artifacts(chosen: Path | None, default: str, engine: str) -> str:
    text = str(chosen or default)
    if not Path(text).is_absolute():
        raise InputError(
            f"--artifacts is an absolute path where workers run on {engine}, the same on every node; got {text!r}"
        )
    return os.path.normpath(_one_line("--artifacts", text))


def _one_line(option: str, path: str) -> str:
    """The path, if a text can hold it."""
    if not path.isprintable():  # line breaks of all kinds, and bytes that are no UTF-8
        raise InputError(f"{option} is a path of one line of printable text; got {path!r}")
    return path
