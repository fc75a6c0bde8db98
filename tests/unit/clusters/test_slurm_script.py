"""The text of a Slurm job: what sbatch reads, what the step runs, and what is refused."""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
from pathlib import Path

import pytest

from gloss_tune.clusters.order import WorkerOrder, parse_memory
from gloss_tune.clusters.slurm_script import SlurmOptions, parse_limit, render_job
from gloss_tune.errors import InputError

ORDER = WorkerOrder(
    study="mr",
    files="mr.0",
    workers=8,
    gpus=1,
    cpus=4,
    memory=16384,
    grace=5.0,
    artifacts="/shared/artifacts",
    epoch_seconds=None,
    arguments=("--leave-when-empty", "--grace", "5"),
)


def render(options: SlurmOptions | None = None, logs: str = "/shared/logs", **changes: object) -> str:
    order = dataclasses.replace(ORDER, **changes)  # type: ignore[arg-type]
    return render_job(
        order, options or SlurmOptions(), program=["python", "-m", "gloss_tune"], url_file="/s/url", logs=logs
    )


def directives(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")]


def test_an_array_of_workers_with_what_each_needs() -> None:
    found = directives(render(SlurmOptions("4h", "gpu", "lab", ["--qos=long"])))
    assert found == [
        "--job-name=gloss-tune-mr.0", "--array=1-8", "--ntasks=1", "--cpus-per-task=4", "--gres=gpu:1", "--mem=16384M",
        "--partition=gpu", "--account=lab", "--time=0-04:00:00", "--signal=USR1@120", "--requeue", "--open-mode=append",
        "--output=/shared/logs/%A_%a.log", "--qos=long",
    ]  # fmt: skip


def test_what_was_not_asked_for_is_left_to_slurm() -> None:
    found = " ".join(directives(render(gpus=0, memory=None)))
    for name in ("--gres", "--mem", "--partition", "--account", "--time"):
        assert name not in found


def test_the_step_is_the_worker_with_the_url_by_its_file() -> None:
    (line,) = [line for line in render(study="a-b").splitlines() if line.startswith("srun ")]
    assert shlex.split(line) == [
        "srun", "--ntasks=1", "--cpus-per-task=4", "python", "-m", "gloss_tune", "worker", "--storage", "@/s/url",
        "--study", "a-b", "--artifacts", "/shared/artifacts", "--leave-when-empty", "--grace", "5", "--threads", "4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "epoch_seconds", "notice"),
    [(None, None, 120), (None, 100, 260), ("1", None, 30), ("2:00", 600, 60), ("10:00:00", 600, 1260)],
)
def test_the_signal_comes_an_epoch_before_the_limit_and_never_in_the_first_half(
    limit: str | None, epoch_seconds: float | None, notice: int
) -> None:
    text = render(SlurmOptions(limit), epoch_seconds=epoch_seconds)
    assert f"--signal=USR1@{notice}" in directives(text)


@pytest.mark.parametrize(
    ("logs", "shown"),
    [
        ("/a b", '"/a b/%A_%a.log"'),
        ("/a%j", "/a%%j/%A_%a.log"),
        ('/a"b', '"/a\\"b/%A_%a.log"'),
        ("/a#b", '"/a#b/%A_%a.log"'),
    ],
)
def test_folders_of_any_name(logs: str, shown: str) -> None:
    assert f"--output={shown}" in directives(render(logs=logs))


def test_an_argument_with_a_space_stays_one() -> None:
    assert '"--comment=by hand"' in directives(render(SlurmOptions(arguments=["--comment=by hand"])))


@pytest.mark.parametrize("argument", ["qos=long", "--qos long", "--comment=a\nrm", ""])
def test_an_argument_that_is_not_one_whole_option_is_refused(argument: str) -> None:
    with pytest.raises(InputError, match="--sbatch-arg is one whole option"):
        render(SlurmOptions(arguments=[argument]))


@pytest.mark.parametrize("name", ["a b", "a\n#SBATCH --x", ""])
def test_names_that_slurm_cannot_know_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="--partition"):
        render(SlurmOptions(partition=name))
    with pytest.raises(InputError, match="--account"):
        render(SlurmOptions(account=name))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400), ("90:30", 5430), ("2:00:00", 7200), ("1-0", 86400), ("1-2:30", 95400), ("1-2:30:15", 95415),
        ("2h", 7200), (" 60 ", 3600),
    ],
)  # fmt: skip
def test_limits(text: str, seconds: int) -> None:
    assert parse_limit(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0:59", "-5", "soon", "1:2:3:4", "1.5-2", "30s"])
def test_limits_that_slurm_would_not_read_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--time is Slurm's"):
        parse_limit(text)


@pytest.mark.parametrize(
    ("text", "mebibytes"),
    [("16G", 16384), ("800M", 800), ("512", 512), ("1.5GiB", 1536), ("2t", 2097152), ("1K", 1)],
)
def test_sizes_of_memory(text: str, mebibytes: int) -> None:
    assert parse_memory(text) == mebibytes


@pytest.mark.parametrize("text", ["", "0", "-1G", "much", "16X", "G"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--memory is a size"):
        parse_memory(text)


@pytest.mark.parametrize(
    ("code", "state", "restarts", "requeued"),
    [
        (0, "RUNNING", 0, False),
        (1, "RUNNING", 0, False),
        (2, "RUNNING", 0, False),
        (3, "RUNNING", 0, False),
        (75, "RUNNING", 0, True),
        (75, "RUNNING", 500, True),
        (75, "CANCELLED", 0, False),
        (69, "RUNNING", 0, True),
        (137, "RUNNING", 99, True),
        (137, "RUNNING", 100, False),
        (143, "COMPLETING", 0, False),
    ],
)
def test_which_ends_go_back_to_the_queue(
    code: int, state: str, restarts: int, requeued: bool, tmp_path: Path
) -> None:
    """The script itself, with Slurm's commands played by others."""
    played = {
        "srun": f"exit {code}",
        "squeue": f'[ "$2" = --jobs=17_3 ] && echo {state}',
        "scontrol": f'echo "$@" >{tmp_path}/asked',
        "sleep": ":",
    }
    for name, body in played.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_RESTART_COUNT": str(restarts),
    }  # fmt: skip
    ended = subprocess.run(["bash"], input=render(), text=True, env=environment, timeout=20, check=False)
    assert ended.returncode == code
    asked = tmp_path / "asked"
    assert asked.exists() is requeued
    if requeued:
        assert asked.read_text() == "requeue 17_3\n"
