"""`launch --on ray`: what is refused before anything is written, with Ray and without, and where the URL goes."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gloss_tune.clusters import ray_jobs
from gloss_tune.clusters.ray_jobs import RayOptions
from gloss_tune.errors import GlossTuneError
from gloss_tune.queue.steering import Steering, steer
from tests.integration.studies import FILES, make
from tests.integration.test_cluster_orders import check_nothing_written, checked_dry_run, launch
from tests.unit.clusters.test_slurm_script import ORDER


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else real(name))


def test_sqlite_is_refused_with_a_way_out_that_exists(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    make(url)
    code, out, err = launch(
        "--on", "ray", "--workers", 2, "--storage", url, "--artifacts", tmp_path / "a", "--dry-run"
    )
    assert (code, out) == (2, "")
    assert "Workers on Ray run on many machines, and an SQLite file is safe on one alone" in err
    assert not (tmp_path / "a").exists()


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "How many workers on Ray? Say --workers N"),
        (["--workers", 2, "--artifacts", "here"], "--artifacts is an absolute path where workers run on Ray"),
        (["--workers", 2, "--memory", "much"], "--memory is a size"),
        (["--workers", 2, "--ray-arg", "qos"], "--ray-arg is one whole option"),
        (["--workers", 2, "--ray-arg=--runtime-env=a.yaml"], "would take the place"),
        (
            ["--workers", 2, "--time", "4h"],
            "--time is for launch --on slurm; leave it out with --on ray",
        ),
        (["--stop", "--partition", "gpu"], "--partition is for launch --on slurm"),
        (["--workers", 2, "--until", "23:00"], "--until is for workers on this machine"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_written(
    options: list[object], message: str, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_nothing_written("ray", postgres_url, tmp_path, options, message)


@pytest.mark.parametrize("option", ["--address=http://h:8265", "--ray-arg=--working-dir=."])
@pytest.mark.parametrize("on", [(), ("--on", "slurm")])
def test_options_of_ray_are_for_ray(on: tuple[str, ...], option: str, tmp_path: Path) -> None:
    code, _, err = launch(*on, option, "--storage", f"sqlite:///{tmp_path}/none.db")
    assert code == 2
    assert f"{option.partition('=')[0]} is for launch --on ray; leave it out" in " ".join(err.split())


@pytest.mark.postgres
@pytest.mark.usefixtures("no_ray")
def test_without_ray_one_sentence_names_the_extra(postgres_url: str, tmp_path: Path) -> None:
    make(postgres_url)
    for options in (["--workers", 2, "--artifacts", tmp_path / "a"], ["--stop"]):
        code, out, err = launch("--on", "ray", "--storage", postgres_url, *options)
        assert (code, out) == (2, "")
        assert "pip install 'gloss-tune[ray]'" in err
        assert len(err.strip().splitlines()) == 1


@pytest.mark.postgres
@pytest.mark.usefixtures("no_ray")
def test_the_url_is_in_its_owners_file_alone(postgres_url: str, tmp_path: Path) -> None:
    text, _ = checked_dry_run("ray", postgres_url, tmp_path / "a")
    assert "--gpus 0" in text, "a rehearsal needs no GPU"


@pytest.mark.postgres
@pytest.mark.usefixtures("no_ray")
def test_a_stopped_study_is_not_submitted(postgres_url: str, tmp_path: Path) -> None:
    opened = make(postgres_url)
    steer(opened.storage, opened.study_id, Steering.stopped)
    code, out, _ = launch("--on", "ray", "--workers", 2, "--storage", postgres_url, "--artifacts", tmp_path)
    assert (code, out.strip()) == (0, "")


def ray_that(answers: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A package ``ray`` whose command runs a line of Python."""
    package = folder / "ray" / "scripts"
    package.mkdir(parents=True)
    for place in (package.parent, package):
        (place / "__init__.py").touch()
    (package / "scripts.py").write_text(f"import os, sys\n{answers}\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "ray" or real(name))


COMMAND = [["ray", "job", "submit", "--no-wait"], ["--", "python", "-m", "x"]]


def test_what_ray_gets_holds_no_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray_that(
        f"open({str(tmp_path / 'got')!r}, 'w').write(repr((sys.argv[1:], dict(os.environ))))\n"
        "print('x\\nJob \\'raysubmit_7\\' submitted successfully\\n')",
        monkeypatch,
        tmp_path,
    )
    monkeypatch.setenv("GLOSS_TUNE_STORAGE", "postgresql://u:secret@h/d")
    monkeypatch.setenv("RAY_ADDRESS", "http://another:8265")
    assert ray_jobs.submit(ORDER, RayOptions(), COMMAND) == "raysubmit_7"
    assert "http://another:8265" in (tmp_path / "got").read_text()
    assert ray_jobs.submit(ORDER, RayOptions("http://head:8265"), COMMAND) == "raysubmit_7"
    got = (tmp_path / "got").read_text()
    assert "http://another:8265" not in got, "for Ray it would win over --address"
    assert "['job', 'submit', '--no-wait', '--', 'python', '-m', 'x']" in got
    assert "secret" not in got


@pytest.mark.parametrize(
    "answers",
    [
        "sys.exit('Traceback\\n  at\\nConnectionError: Failed to connect to Ray')",
        "print('ConnectionError: Failed to connect to Ray')",
    ],
)
def test_a_ray_that_refuses_is_one_clear_error(
    answers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray_that(answers, monkeypatch, tmp_path)
    with pytest.raises(
        GlossTuneError, match="does not take the call: ConnectionError: Failed to connect"
    ) as error:
        ray_jobs.submit(ORDER, RayOptions(), COMMAND)
    assert error.value.exit_code == 1
    assert "--address" in str(error.value)


def test_stop_stops_the_studys_jobs_that_live(monkeypatch: pytest.MonkeyPatch) -> None:
    class Job:
        def __init__(self, name: str, status: str, study: str) -> None:
            self.submission_id, self.status, self.metadata = name, status, {"gloss_tune_study": study}

    stopped: list[str] = []

    class Client:
        def __init__(self, address: str | None, headers: dict[str, str] | None = None) -> None:
            assert (address, headers) == ("http://h:8265", {"a": "b"})
            assert "RAY_ADDRESS" not in os.environ, "for Ray it would win over --address"

        def list_jobs(self) -> list[Job]:
            return [Job("c", "RUNNING", FILES), Job("b", "FAILED", FILES), Job("a", "PENDING", FILES),
                    Job("d", "RUNNING", "other.0")]  # fmt: skip

        def stop_job(self, name: str) -> None:
            stopped.append(name)

    module = ModuleType("ray.job_submission")
    module.JobSubmissionClient = Client  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.setitem(sys.modules, "ray.job_submission", module)
    monkeypatch.setattr(ray_jobs, "_check_installed", lambda: None)
    monkeypatch.setenv("RAY_JOB_HEADERS", '{"a": "b"}')
    monkeypatch.setenv("RAY_ADDRESS", "http://another:8265")
    assert ray_jobs.stop(FILES, RayOptions("http://h:8265")) == ["a", "c"]
    assert sorted(stopped) == ["a", "c"]
    assert os.environ["RAY_ADDRESS"] == "http://another:8265"
