"""Submit a study's workers to Slurm, and cancel what was submitted: through its own commands."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

from gloss_tune.atomic import write_whole
from gloss_tune.clusters.order import WorkerOrder
from gloss_tune.clusters.secret_file import launch_folder, url_file, url_place
from gloss_tune.clusters.slurm_script import SlurmOptions, job_name, render_job
from gloss_tune.errors import GlossTuneError, InputError
from gloss_tune.logging import logger
from gloss_tune.wording import count

_ANSWER_SECONDS = 60.0


def prepare(order: WorkerOrder, options: SlurmOptions, storage: str) -> str:
    """The job's script; the folder and the file with the URL, which it names, are made.

    Args:
        order: the workers.
        options: Slurm's own.
        storage: the database, as given.

    Raises:
        InputError: as :func:`render_job` and :func:`url_file` do.
    """
    folder = launch_folder(order.artifacts, order.files)
    secret = str(url_place(storage, folder).absolute())
    program = [sys.executable, "-m", "gloss_tune"]
    text = render_job(order, options, program=program, url_file=secret, logs=str(folder))
    url_file(storage, folder)  # only now: nothing is written for what is refused
    folder.mkdir(parents=True, exist_ok=True)
    wait = kill_wait()
    if wait is not None and order.grace >= wait:
        logger.warning(
            "--grace %g is not less than Slurm's KillWait of %d s: Slurm may end a worker before that has handed its "
            "trial back, and the epoch is repeated. Choose at most --grace %d.",
            order.grace, wait, max(0, wait - 2),
        )  # fmt: skip
    return text


def submit(order: WorkerOrder, text: str) -> str:
    """Submit the script; returns the job's id.

    Raises:
        InputError: there is no sbatch here.
        GlossTuneError: Slurm refuses the job.
    """
    script = launch_folder(order.artifacts, order.files) / "job.sh"
    write_whole(script, text)
    # what Slurm keeps of a job's environment can be read by others: the URL is in its file
    environment = {name: value for name, value in os.environ.items() if name != "GLOSS_TUNE_STORAGE"}
    answer = _call(["sbatch", "--parsable", str(script)], environment)
    job = answer.strip().partition(";")[0]
    logger.info(
        "Slurm has job %s: %s. What they print: %s. 'gloss-tune launch --on slurm --stop' cancels it.",
        job, count(order.workers, "worker"), script.parent / f"{job}_*.log",
    )  # fmt: skip
    return job


def cancel(files: str) -> list[str]:
    """Cancel all jobs of this user that were submitted for the study; returns their ids.

    Raises:
        InputError: there is no Slurm here.
    """
    # %F: an array is one job here, however many of it wait
    listed = _call(
        ["squeue", "--noheader", f"--user={getpass.getuser()}", f"--name={job_name(files)}", "--format=%F"]
    )
    jobs = sorted(set(listed.split()), key=int)
    if jobs:
        _call(["scancel", *jobs])
    return jobs


def kill_wait() -> int | None:
    """Seconds from Slurm's SIGTERM to its SIGKILL; None where it cannot be asked."""
    try:
        shown = _call(["scontrol", "show", "config"])
    except GlossTuneError:
        return None
    match = re.search(r"^KillWait\s*=\s*(\d+)", shown, re.MULTILINE)
    return None if match is None else int(match[1])


def _call(command: Sequence[str], environment: dict[str, str] | None = None) -> str:
    if shutil.which(command[0]) is None:
        raise InputError(
            f"There is no {command[0]} on this machine; run this where Slurm's commands are, such as a login node, or "
            "take the script that --dry-run prints there"
        )
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise GlossTuneError(
            f"{command[0]} has not answered for {_ANSWER_SECONDS:.0f} s; try again"
        ) from None
    if done.returncode:
        raise GlossTuneError(
            f"{command[0]} ended with {done.returncode}: {done.stderr.strip() or 'it said nothing'}. "
            "Mend that and repeat"
        )
    return done.stdout
