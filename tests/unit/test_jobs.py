"""Which job a process is part of."""

from __future__ import annotations

import pytest

from gloss_tune.jobs import Job, this_job


@pytest.mark.parametrize(
    ("environment", "job"),
    [
        ({}, Job()),
        ({"SLURMD_NODENAME": "n1"}, Job()),
        ({"SLURM_JOB_ID": "18", "SLURMD_NODENAME": "n1"}, Job("slurm 18", "n1")),
        (
            {
                "SLURM_JOB_ID": "18",
                "SLURM_ARRAY_JOB_ID": "17",
                "SLURM_ARRAY_TASK_ID": "3",
                "SLURMD_NODENAME": "n2",
            },
            Job("slurm 17_3", "n2"),
        ),
        ({"SLURM_JOB_ID": "18", "SLURM_RESTART_COUNT": "0"}, Job("slurm 18")),
        ({"SLURM_JOB_ID": "18", "SLURM_RESTART_COUNT": "2"}, Job("slurm 18", again=True)),
        ({"GLOSS_TUNE_JOB": "kubernetes p", "GLOSS_TUNE_FAILURES": ""}, Job("kubernetes p")),
        ({"GLOSS_TUNE_JOB": "kubernetes p", "GLOSS_TUNE_FAILURES": "1"}, Job("kubernetes p", again=True)),
        (
            {"GLOSS_TUNE_JOB": "kubernetes p", "GLOSS_TUNE_IGNORED_FAILURES": "1"},
            Job("kubernetes p", again=True),
        ),
        ({"SLURM_RESTART_COUNT": "2"}, Job()),
        ({"GLOSS_TUNE_JOB": "ray 02000000", "GLOSS_TUNE_NODE": "head"}, Job("ray 02000000", "head")),
    ],
)
def test_the_job_is_what_the_engine_calls_it(environment: dict[str, str], job: Job) -> None:
    assert this_job(environment) == job
