"""The text of a Slurm job: an array whose steps are workers, each of which is asked to leave before its limit.

It is written from values alone, so that what ``--dry-run`` prints is what is submitted.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from gloss_tune.clusters.order import WorkerOrder
from gloss_tune.errors import InputError
from gloss_tune.wording import parse_duration

# Slurm may send the signal late by this much, and the last epoch must fit behind it
_SIGNAL_LATE_SECONDS = 60
_SHORTEST_NOTICE, _LONGEST_SHARE = 120, 0.5
_MOST_RESTARTS = 100

_END = """
# 75: asked to leave with work remaining. 69: the storage is away. Above 128: ended by a signal. Only a job that still
# counts as running goes back to the queue, by its array id: one that was cancelled stays cancelled.
again() {
    [ "$code" -eq 75 ] && return 0
    [ "$code" -eq 69 ] || [ "$code" -gt 128 ] || return 1
    [ "${SLURM_RESTART_COUNT:-0}" -lt RESTARTS ]
}
me=${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}
if again && [ "$(squeue --noheader --jobs="$me" --format=%T)" = RUNNING ]; then
    scontrol requeue "$me" && sleep 60 # Slurm ends this script meanwhile
fi
exit "$code"
""".replace("RESTARTS", str(_MOST_RESTARTS))


@dataclass(frozen=True)
class SlurmOptions:
    """What only Slurm needs to know.

    Args:
        time: limit of each job, as sbatch reads it, or as in ``2h``; None for the partition's.
        partition: to run in; None for the default.
        account: to charge; None for the default.
        arguments: further options of sbatch, each whole, as in ``--qos=long``.
    """

    engine: ClassVar = "Slurm"
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    arguments: Sequence[str] = ()


def job_name(files: str) -> str:
    """What a study's jobs are called: by this name they are found again."""
    return f"gloss-tune-{files}"


def render_job(
    order: WorkerOrder, options: SlurmOptions, *, program: Sequence[str], url_file: str, logs: str
) -> str:
    """The script for sbatch.

    Args:
        order: the workers.
        options: Slurm's own.
        program: how ``gloss-tune`` is called on a node.
        url_file: that holds the storage's URL.
        logs: folder for what the jobs print.

    Raises:
        InputError: a limit that Slurm would not read, an option that is none.
    """
    directives = [
        f"--job-name={job_name(order.files)}",
        f"--array=1-{order.workers}",
        "--ntasks=1",
        f"--cpus-per-task={order.cpus}",
    ]
    if order.gpus:
        directives.append(f"--gres=gpu:{order.gpus}")
    if order.memory is not None:
        directives.append(f"--mem={order.memory}M")
    if options.partition is not None:
        directives.append(f"--partition={_word(options.partition, '--partition')}")
    if options.account is not None:
        directives.append(f"--account={_word(options.account, '--account')}")
    limit = None if options.time is None else parse_limit(options.time)
    if limit is not None:
        directives.append(f"--time={_clock(limit)}")
    directives += [
        f"--signal=USR1@{_notice(order.epoch_seconds, limit)}",
        "--requeue",
        "--open-mode=append",
        "--output=" + _quoted(logs.replace("%", "%%") + "/%A_%a.log"),
        *(_argument(argument) for argument in options.arguments),
    ]
    head = "\n".join(f"#SBATCH {directive}" for directive in directives)
    step = shlex.join(
        ["srun", "--ntasks=1", f"--cpus-per-task={order.cpus}", *program, *order.command(f"@{url_file}")]
    )
    # not only the batch shell: the step hears of preemption and of the limit at once, and this script must outlive it
    body = f"unset GLOSS_TUNE_STORAGE\ntrap : TERM USR1\n{step}\ncode=$?"
    return f"#!/bin/bash\n{head}\n\n{body}\n{_END}"


def parse_limit(text: str) -> int:
    """Seconds of a limit: ``90`` (minutes), ``MM:SS``, ``H:MM:SS``, ``D-H``, ``D-H:MM``, ``D-H:MM:SS``, or ``2h``.

    Raises:
        InputError: for anything else.
    """
    wrong = InputError(
        f"--time is Slurm's MINUTES, MINUTES:SECONDS, H:MM:SS or DAYS-H[:MM[:SS]], or as in 2h; got {text!r}"
    )
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if match is None:
        try:
            seconds = round(parse_duration(text))
        except ValueError:
            raise wrong from None
    else:
        days, *numbers = (None if part is None else int(part) for part in match.groups())
        first, second, third = numbers
        assert first is not None
        if days is not None:
            seconds = 86400 * days + 3600 * first + 60 * (second or 0) + (third or 0)
        elif third is not None:
            seconds = 3600 * first + 60 * (second or 0) + third
        else:
            seconds = 60 * first + (second or 0)
    if seconds < 60:
        raise wrong
    return seconds


def _notice(epoch_seconds: float | None, limit: int | None) -> int:
    """Seconds before the limit at which a worker is asked to leave: an epoch, and what Slurm may be late."""
    wanted = max(_SHORTEST_NOTICE, round(_SIGNAL_LATE_SECONDS + 2 * (epoch_seconds or 0)))
    return wanted if limit is None else min(wanted, round(_LONGEST_SHARE * limit))


def _clock(seconds: int) -> str:
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}-{hour:02d}:{minute:02d}:{second:02d}"


def _word(value: str, option: str) -> str:
    if not re.fullmatch(r"[\w.,+:@-]+", value):
        raise InputError(f"{option} is a name that Slurm knows; got {value!r}")
    return value


def _argument(value: str) -> str:
    if not re.fullmatch(r"-[^\s=]+(=[^\n\r\0]*)?", value):
        raise InputError(
            f"--sbatch-arg is one whole option of sbatch, as in --sbatch-arg=--qos=long; got {value!r}"
        )
    return _quoted(value)


def _quoted(value: str) -> str:
    """As sbatch reads one value: it splits at spaces, ends at ``#``, and takes ``"`` and backslashes like a shell."""
    if re.fullmatch(r"[\w./%:,=+@-]+", value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
