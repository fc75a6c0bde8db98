"""The command that submits a job to Ray: what it holds, what is refused, and how it is read back."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gloss_tune.clusters import ray_jobs
from gloss_tune.clusters.ray_jobs import RayOptions, render_command, shown
from gloss_tune.errors import InputError
from tests.unit.clusters.test_slurm_script import ORDER


def words(options: RayOptions | None = None, **changes: object) -> list[str]:
    order = dataclasses.replace(ORDER, **changes)  # type: ignore[arg-type]
    return [word for line in render_command(order, options or RayOptions(), "/s/url") for word in line]


def after(option: str, command: list[str]) -> str:
    return command[command.index(option) + 1]


def environment(options: RayOptions | None = None, **changes: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(after("--runtime-env-json", words(options, **changes)))
    return found


def test_a_job_whose_driver_knows_what_each_worker_gets() -> None:
    command = words(RayOptions("http://head:8265"))
    assert command[:4] == ["ray", "job", "submit", "--no-wait"]
    assert after("--address", command) == "http://head:8265"
    assert json.loads(after("--metadata-json", command)) == {"gloss_tune_study": "mr.0"}
    assert command[command.index("python") :] == [
        "python", "-m", "gloss_tune.clusters.ray_driver",
        "--workers", "8", "--cpus", "4", "--gpus", "1", "--memory", "16384", "--grace", "5",
        "--", "worker", "--storage", "@/s/url", "--study", "mr", "--artifacts", "/shared/artifacts",
        "--leave-when-empty", "--grace", "5", "--threads", "4",
    ]  # fmt: skip


def test_what_was_not_asked_for_is_left_to_ray() -> None:
    command = words(memory=None)
    assert "--memory" not in command
    assert "--address" not in command


def test_a_stopped_job_has_the_time_that_its_workers_need() -> None:
    variables = environment(grace=30.5)["env_vars"]
    assert variables["RAY_DEDUP_LOGS"] == "0"
    # grace, 3 s to the end by force, and what the driver needs itself
    assert int(variables["RAY_JOB_STOP_WAIT_TIME_S"]) > 30.5 + 3 + 5


@pytest.mark.parametrize("address", [None, "http://head:8265"])
def test_the_text_is_the_command(
    address: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = tmp_path / "ray"
    ray.write_text('#!/bin/bash\nprintf "%s\\0" "$RAY_ADDRESS" "$RAY_API_SERVER_ADDRESS" ray "$@"\n')
    ray.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.setenv(name, "http://another:8265")
    options = RayOptions(address)
    lines = render_command(dataclasses.replace(ORDER, artifacts="/a b/$HOME'"), options, "/s u/url")
    read = subprocess.run(["sh", "-c", shown(lines, options)], capture_output=True, text=True, check=True)
    first, second, *command = read.stdout.split("\0")[:-1]
    assert command == [word for line in lines for word in line]
    # for Ray they would win over --address
    assert (first, second) == (("http://another:8265",) * 2 if address is None else ("", ""))


def test_options_of_ray_itself_come_behind_ours() -> None:
    command = words(RayOptions(arguments=["--entrypoint-num-cpus=1", "--working-dir=/a b"]))
    border = command.index("--")
    assert command[border - 2 : border] == ["--entrypoint-num-cpus=1", "--working-dir=/a b"]


def test_a_runtime_environment_is_joined_to_what_the_workers_need() -> None:
    given = json.dumps({"pip": ["x"], "env_vars": {"A": "1", "RAY_DEDUP_LOGS": "1"}})
    found = environment(RayOptions(arguments=[f"--runtime-env-json={given}"]))
    assert found["pip"] == ["x"]
    assert found["env_vars"]["A"] == "1"
    assert found["env_vars"]["RAY_DEDUP_LOGS"] == "1"
    assert found["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]
    assert words(RayOptions(arguments=[f"--runtime-env-json={given}"])).count("--runtime-env-json") == 1


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("working-dir=.", "--ray-arg is one whole option"),
        ("--working-dir .", "--ray-arg is one whole option"),
        ("--a=b\nc", "--ray-arg is one whole option"),
        ("", "--ray-arg is one whole option"),
        ("--", "--ray-arg is one whole option"),
        ("--runtime-env=env.yaml", "would take the place"),
        ("--runtime-env-json={", "takes an object of JSON"),
        ("--runtime-env-json=[1]", "takes an object of JSON"),
        ('--runtime-env-json={"env_vars": 3}', "takes an object of JSON"),
    ],
)
def test_arguments_that_ray_would_not_take_as_meant_are_refused(argument: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        words(RayOptions(arguments=[argument]))


@pytest.mark.parametrize(
    ("status", "metadata", "is_ours"),
    [
        ("RUNNING", {"gloss_tune_study": "mr.0"}, True),
        ("PENDING", {"gloss_tune_study": "mr.0"}, True),
        ("STOPPED", {"gloss_tune_study": "mr.0"}, False),
        ("SUCCEEDED", {"gloss_tune_study": "mr.0"}, False),
        ("RUNNING", {"gloss_tune_study": "mr.1"}, False),
        ("RUNNING", {}, False),
        ("RUNNING", None, False),
    ],
)
def test_which_jobs_are_stopped(status: str, metadata: dict[str, str] | None, is_ours: bool) -> None:
    @dataclasses.dataclass
    class Job:
        status: str
        metadata: dict[str, str] | None
        submission_id: str | None = "raysubmit_1"

    assert ray_jobs._is_of(Job(status, metadata), "mr.0") is is_ours
    assert not ray_jobs._is_of(Job(status, metadata, None), "mr.0"), "a driver that nobody submitted"
