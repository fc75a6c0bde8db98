"""Submit a study's workers to Ray as one job, and stop what was submitted: through Ray's own command and its Jobs API.

The command is made from values alone, so that what ``--dry-run`` prints is what is run.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from gloss_tune.clusters.order import WorkerOrder
from gloss_tune.clusters.ray_task import DYING_SECONDS
from gloss_tune.clusters.secret_file import launch_folder, url_file, url_place
from gloss_tune.errors import GlossTuneError, InputError
from gloss_tune.logging import logger
from gloss_tune.wording import count

_ANSWER_SECONDS = 120.0
# of what a job's driver does besides waiting for its workers, when the job is stopped
_DRIVER_SECONDS = 15
_STUDY = "gloss_tune_study"
_RUNTIME = "--runtime-env-json="
_LIVING = {"PENDING", "RUNNING"}
_ADDRESSES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")  # for Ray they win over an option


@dataclass(frozen=True)
class RayOptions:
    """What only Ray needs to know.

    Args:
        address: where it takes jobs; None for what RAY_ADDRESS says, or else this machine.
        arguments: further options of ``ray job submit``, each whole, as in ``--entrypoint-num-cpus=1``.
    """

    engine: ClassVar = "Ray"
    address: str | None = None
    arguments: Sequence[str] = ()


def render_command(order: WorkerOrder, options: RayOptions, url_file: str) -> list[list[str]]:
    """The command that submits the job, in lines.

    Args:
        order: the workers.
        options: Ray's own.
        url_file: that holds the storage's URL.

    Raises:
        InputError: an option that is none, or that would replace what the job needs.
    """
    runtime = {
        "env_vars": {
            "RAY_DEDUP_LOGS": "0",
            "RAY_JOB_STOP_WAIT_TIME_S": str(math.ceil(order.grace + DYING_SECONDS) + _DRIVER_SECONDS),
        }
    }
    others = []
    for argument in options.arguments:
        _check_argument(argument)
        if argument.startswith(_RUNTIME):
            runtime = _merged(runtime, argument.removeprefix(_RUNTIME))
        else:
            others.append([argument])
    needs = ["--workers", str(order.workers), "--cpus", str(order.cpus), "--gpus", str(order.gpus)]
    if order.memory is not None:
        needs += ["--memory", str(order.memory)]
    return [
        ["ray", "job", "submit", "--no-wait"],
        *([_told(options)] if options.address is not None else []),
        ["--metadata-json", json.dumps({_STUDY: order.files})],
        ["--runtime-env-json", json.dumps(runtime)],
        *others,
        ["--", "python", "-m", "gloss_tune.clusters.ray_driver"],
        [*needs, "--grace", f"{order.grace:g}"],
        ["--", *order.command(f"@{url_file}")],
    ]


def shown(command: Sequence[Sequence[str]], options: RayOptions) -> str:
    """A command in lines as a shell reads it, which ends up where :func:`submit` would."""
    without = [] if options.address is None else [part for name in _ADDRESSES for part in ("-u", name)]
    first, *others = command
    lines = [["env", *without, *first] if without else first, *others]
    return " \\\n    ".join(shlex.join(line) for line in lines)


def prepare(order: WorkerOrder, options: RayOptions, storage: str) -> list[list[str]]:
    """The command that submits the job; the file with the URL, which it names, is made.

    Args:
        order: the workers.
        options: Ray's own.
        storage: the database, as given.

    Raises:
        InputError: as :func:`render_command` and :func:`url_file` do.
    """
    folder = launch_folder(order.artifacts, order.files)
    command = render_command(order, options, str(url_place(storage, folder).absolute()))
    url_file(storage, folder)  # only now: nothing is written for what is refused
    return command


def submit(order: WorkerOrder, options: RayOptions, command: Sequence[Sequence[str]]) -> str:
    """Run the command; returns the job's submission id.

    Raises:
        InputError: Ray is not installed.
        GlossTuneError: Ray does not answer, or refuses the job.
    """
    _check_installed()
    ray, *arguments = [word for line in command for word in line]
    left_out = {"GLOSS_TUNE_STORAGE", *(() if options.address is None else _ADDRESSES)}
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", *arguments],
            env=environment, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise GlossTuneError(f"{ray} has not answered for {_ANSWER_SECONDS:.0f} s; try again") from None
    found = re.search(r"Job '([^']+)' submitted", done.stdout)
    if done.returncode or found is None:
        raise _refused(done.stderr.strip() or done.stdout.strip())
    job = found[1]
    logger.info(
        "Ray has job %s: %s. What they print: 'ray job logs %s'. 'gloss-tune launch --on ray --stop' stops it.",
        job, count(order.workers, "worker"), " ".join([job, *_told(options)]),
    )  # fmt: skip
    return job


def stop(files: str, options: RayOptions) -> list[str]:
    """Stop all jobs that were submitted for the study and have not ended; returns their submission ids.

    Raises:
        InputError: Ray is not installed.
        GlossTuneError: Ray does not answer.
    """
    _check_installed()
    from ray.job_submission import JobSubmissionClient

    headers = os.environ.get("RAY_JOB_HEADERS")  # as Ray's own command takes them
    try:
        with _address_of(options):
            client = JobSubmissionClient(options.address, headers=json.loads(headers) if headers else None)
        jobs = [job for job in client.list_jobs() if _is_of(job, files)]
        for job in jobs:
            client.stop_job(job.submission_id)
    except (OSError, RuntimeError, ValueError) as error:
        raise _refused(str(error)) from None
    return sorted(str(job.submission_id) for job in jobs)


def _is_of(job: Any, files: str) -> bool:
    living = getattr(job.status, "value", job.status) in _LIVING
    return bool(living and job.submission_id and (job.metadata or {}).get(_STUDY) == files)


@contextmanager
def _address_of(options: RayOptions) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _ADDRESSES if options.address is not None}
    for name in before:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _told(options: RayOptions) -> list[str]:
    return [] if options.address is None else ["--address", options.address]


def _refused(said: str) -> GlossTuneError:
    """Ray's command ends with a traceback, whose last line says what is wrong."""
    last = said.splitlines()[-1] if said else "it said nothing"
    return GlossTuneError(
        f"Ray does not take the call: {last}. Its jobs' address is told by --address or RAY_ADDRESS, as in "
        "http://head:8265; mend that and repeat"
    )


def _check_installed() -> None:
    if importlib.util.find_spec("ray") is None:
        raise InputError(
            "Workers on Ray are asked for through Ray itself, which is not installed here: "
            "pip install 'gloss-tune[ray]', or take the command that --dry-run prints to where Ray is"
        )


def _check_argument(value: str) -> None:
    if not re.fullmatch(r"--[^\s=]+(=[^\n\r\0]*)?", value):
        raise InputError(
            "--ray-arg is one whole option of 'ray job submit', as in --ray-arg=--entrypoint-num-cpus=1; "
            f"got {value!r}"
        )
    if value.partition("=")[0] == "--runtime-env":
        raise InputError(
            f"--ray-arg={value} would take the place of the environment that the workers need; give what it adds as "
            f"--ray-arg={_RUNTIME}JSON, which is joined to that"
        )


def _merged(runtime: dict[str, Any], text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
        variables = dict(given.get("env_vars", {}))
    except (ValueError, TypeError, AttributeError):
        raise InputError(f"--ray-arg={_RUNTIME}JSON takes an object of JSON; got {text!r}") from None
    return {**runtime, **given, "env_vars": {**runtime["env_vars"], **variables}}
