"""`launch --on kubernetes`: what stands on stdout, what is said, and what is refused before anything is printed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import gloss_tune.clusters.launch
from gloss_tune.cli import app
from gloss_tune.clusters.kubernetes_manifest import job_of, label_of
from gloss_tune.errors import GlossTuneError
from gloss_tune.queue.steering import Steering, steer
from gloss_tune.study.extend import extend
from gloss_tune.study.study import OpenStudy, open_study
from tests.integration.studies import FILES, make

RUN = CliRunner()
pytestmark = pytest.mark.postgres


@pytest.fixture(autouse=True)
def no_folders_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOSS_TUNE_DATA", raising=False)


def launch(*arguments: object) -> tuple[int, str, str]:
    ended = RUN.invoke(app, ["launch", "--on", "kubernetes", *map(str, arguments)])
    if isinstance(ended.exception, GlossTuneError):  # what main() does with it
        return ended.exception.exit_code, ended.stdout, str(ended.exception)
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return ended.exit_code, ended.stdout, " ".join(ended.stderr.split())


def refused(*arguments: object) -> str:
    code, out, message = launch(*arguments)
    assert (code, out) == (2, ""), "nothing is printed that kubectl could take"
    assert "\n" not in message
    assert "Traceback" not in message
    return message


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder that stays empty, and a PATH without kubectl."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_the_manifest_is_all_that_stands_on_stdout(postgres_url: str, elsewhere: Path) -> None:
    make(postgres_url)
    options = ("--workers", 3, "--storage", postgres_url, "--image", "r.example.org/x:1", "--namespace", "team",
               "--claim", "nfs", "--secret", "db", "--memory", "2G", "--cpus-per-worker", 2, "--gpus-per-worker", 1,
               "--grace", 30, "--artifacts", "/data/a/../b", "--max-trials", 4)  # fmt: skip
    code, text, said = launch(*options)
    assert code == 0
    found = yaml.safe_load(text)
    assert found["metadata"]["name"] == job_of(FILES, 4)
    assert (found["metadata"]["namespace"], found["spec"]["parallelism"]) == ("team", 3)
    pod = found["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "r.example.org/x:1"
    assert container["args"] == [
        "worker", "--storage", "@/run/gloss-tune/url", "--study", "study", "--artifacts", "/data/b",
        "--leave-when-empty", "--grace", "30", "--max-trials", "4",
    ]  # fmt: skip
    assert container["resources"]["limits"] == {"memory": "2048Mi", "nvidia.com/gpu": "1"}
    assert pod["terminationGracePeriodSeconds"] == 45
    assert "kubectl apply --namespace team -f -" in said
    assert "nothing is submitted from here" in said
    assert launch(*options)[1] == text, "the same again: kubectl has nothing to change"
    assert launch(*options, "--dry-run")[1] == text
    assert list(elsewhere.iterdir()) == [], "nothing is written on this machine"


def test_nothing_of_the_url_is_in_the_text(
    postgres_url: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(postgres_url)
    secret = elsewhere.parent / "url"
    secret.write_text(postgres_url)
    from_file = launch("--workers", 1, "--storage", f"@{secret}")
    monkeypatch.setenv("GLOSS_TUNE_STORAGE", postgres_url)
    from_environment = launch("--workers", 1)
    assert from_file[:2] == from_environment[:2]
    for _, text, said in (from_file, from_environment):
        assert "postgresql" not in text + said
        assert str(secret) not in text
        login = postgres_url.partition("://")[2].partition("@")[0]
        assert not login or login not in text + said
    assert "GLOSS_TUNE_STORAGE" not in from_environment[1]


def test_a_rehearsal_asks_for_no_gpu_and_a_study_that_grew_is_another_job(
    postgres_url: str, elsewhere: Path
) -> None:
    opened = make(postgres_url)
    first = yaml.safe_load(launch("--workers", 1, "--storage", postgres_url)[1])
    limits = first["spec"]["template"]["spec"]["containers"][0]["resources"].get("limits", {})
    assert "nvidia.com/gpu" not in limits
    extend(opened, 3)
    second = yaml.safe_load(launch("--workers", 1, "--storage", postgres_url)[1])
    assert second["metadata"]["name"] != first["metadata"]["name"]
    assert second["metadata"]["labels"] == first["metadata"]["labels"]


def test_folders_that_the_environment_names_are_this_machines(
    postgres_url: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(postgres_url)
    options = ("--workers", 1, "--storage", postgres_url)
    plain = launch(*options)[1]
    monkeypatch.setenv("GLOSS_TUNE_DATA", "/home/me/sets")
    monkeypatch.setenv("GLOSS_TUNE_ARTIFACTS", "/home/me/artifacts")
    _, text, said = launch(*options)
    assert text == plain
    assert (
        "GLOSS_TUNE_DATA is /home/me/sets, a folder of this machine, which pods do not see: not used." in said
    )
    assert "/home/me/other" in refused(*options, "--data-dir", "/home/me/other")
    monkeypatch.setenv("GLOSS_TUNE_DATA", "/data/sets")
    assert '"/data/sets"' in launch(*options)[1]


def test_a_stopped_study_gets_no_job_but_shows_it(postgres_url: str, elsewhere: Path) -> None:
    opened = make(postgres_url)
    steer(opened.storage, opened.study_id, Steering.stopped)
    code, out, said = launch("--workers", 1, "--storage", postgres_url)
    assert (code, out) == (0, "")
    assert "is stopped; nothing was submitted" in said
    assert "kind:" in launch("--workers", 1, "--storage", postgres_url, "--dry-run")[1]


WRONG: list[tuple[list[object], str]] = [
    (["--workers", 0], "--workers"),
    ([], "Say --workers N"),
    (["--workers", 2, "--artifacts", "here"], "--artifacts is an absolute path"),
    (["--workers", 2, "--artifacts", "/shared/a"], "--artifacts is a folder under /data, or --mount says where"),
    (["--workers", 2, "--artifacts", "/data/../a"], "--artifacts is a folder under /data"),
    (["--workers", 2, "--artifacts", "/database"], "--artifacts is a folder under /data"),
    (["--workers", 2, "--artifacts", "/data/a\nb"], "--artifacts is a path of one line"),
    (["--workers", 2, "--artifacts", "/data/\udcff"], "--artifacts is a path of one line of printable text"),
    (["--workers", 2, "--data-dir", "sets"], "--data-dir is a folder under /data"),
    (["--workers", 2, "--memory", "much"], "--memory is a size"),
    (["--workers", 2, "--memory", "9" * 400], "--memory is a size"),
    (["--workers", 2, "--memory", "1G\nkind: Pod"], "--memory is a size"),
    (["--workers", 2, "--grace", "inf"], "--grace is seconds"),
    (["--workers", 2, "--grace", "nan"], "--grace"),
    (["--workers", 2, "--device", "cuda:0,cuda:1"], "--device is one for each worker"),
    (["--workers", 2, "--device", "$(POD)"], "--device is one for each worker"),
    (["--workers", 2, "--track", "banana"], "--track must be one of"),
    (["--workers", 2, "--image", "a b"], "--image is an image's name"),
    (["--workers", 2, "--image", ""], "--image is an image's name"),
    (["--workers", 2, "--namespace", "Team"], "--namespace is lower-case letters"),
    (["--workers", 2, "--namespace", "a\n---\nkind: Secret"], "--namespace is lower-case letters"),
    (["--workers", 2, "--claim", "a_b"], "--claim is a claim's name"),
    (["--workers", 2, "--claim", ""], "--claim is a claim's name"),
    (["--workers", 2, "--secret", "a/b"], "--secret is a Secret's name"),
    (["--workers", 2, "--mount", "/tmp"], "--mount is the absolute path of a folder"),
    (["--workers", 100_001], "--workers is at most 100000"),
    (["--workers", 2, "--until", "23:00"], "--until is for workers on this machine"),
    (["--workers", 2, "--time", "1h"], "--time is for launch --on slurm"),
    (["--workers", 2, "--partition", ""], "--partition is for launch --on slurm"),
    (["--workers", 2, "--study", "other"], "other"),
]  # fmt: skip


def test_wrong_input_is_one_sentence_before_anything_is_printed(postgres_url: str, elsewhere: Path) -> None:
    make(postgres_url)
    for options, message in WRONG:
        assert message in refused("--storage", postgres_url, *options), options
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("option", ["--image=a", "--namespace=a", "--claim=a", "--secret=a", "--mount=/a"])
def test_kubernetes_options_are_its_own(option: str, tmp_path: Path) -> None:
    for engine in ([], ["--on", "slurm"]):
        ended = RUN.invoke(app, ["launch", *engine, option, "--storage", f"sqlite:///{tmp_path}/none.db"])
        assert isinstance(ended.exception, GlossTuneError)
        assert ended.exception.exit_code == 2
        assert f"{option.partition('=')[0]} is for launch --on kubernetes" in str(ended.exception)


def test_sqlite_is_refused_with_the_way_out(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    make(url)
    assert "Create the study on Postgres" in refused("--workers", 2, "--storage", url)


def test_stop_names_kubectls_command(postgres_url: str) -> None:
    make(postgres_url)
    message = refused("--stop", "--namespace", "team", "--storage", postgres_url)
    assert message.endswith(
        f"run: kubectl delete jobs --namespace team --selector app.kubernetes.io/instance={label_of(FILES)}"
    )


@pytest.fixture
def real_study(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A study that trains, with any data set and encoder, which are not opened here."""
    make(postgres_url)

    def with_spec(**changes: Any) -> str:
        def opened(url: str, name: str | None, **options: Any) -> OpenStudy:
            found = open_study(url, name, **options)
            return dataclasses.replace(
                found, spec=found.spec.model_copy(update={"rehearse": False, **changes})
            )

        monkeypatch.setattr(gloss_tune.clusters.launch, "open_study", opened)
        return postgres_url

    return with_spec


def test_data_and_encoders_that_pods_find(real_study: Any) -> None:
    cases: list[tuple[dict[str, str], list[str]]] = [
        ({"dataset": "mr"}, []),
        ({"dataset": "hf:stanfordnlp/imdb"}, []),
        ({"dataset": "/data/sets/my.csv"}, []),
        ({"dataset": "/shared/my.csv"}, ["--mount", "/shared"]),
        ({"dataset": "/home/me/my.csv"}, ["--data-dir", "/data/sets"]),
        ({"dataset": "mine"}, ["--data-dir", "/data/sets"]),
        ({"model": "/data/models/mine"}, []),
        ({"model": "org/model"}, []),
    ]
    for changes, options in cases:
        code, text, _ = launch("--workers", 1, "--storage", real_study(**changes), *options)
        assert code == 0, changes
        container = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"][0]
        assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}
        if "--data-dir" in options:
            assert container["args"][-2:] == options


def test_data_and_encoders_that_pods_would_not_find_are_refused(real_study: Any) -> None:
    cases: list[tuple[dict[str, str], list[str], str]] = [
        ({"dataset": "/home/me/my.csv"}, [], "copy it to the claim, as /data/data/my.csv, and say --data-dir"),
        ({"dataset": "/database/my.csv"}, [], "The study's data set is '/database/my.csv'"),
        ({"dataset": "mine"}, [], "The study's data set is 'mine'"),
        ({"dataset": "/data/my.csv"}, ["--mount", "/shared"], "pods on Kubernetes see the claim at /shared"),
        ({"model": "/home/me/model"}, ["--data-dir", "/data/x"], "The study's encoder is the folder '/home/me/model'"),
    ]  # fmt: skip
    for changes, options, message in cases:
        assert message in refused("--workers", 1, "--storage", real_study(**changes), *options)


def test_stdlib_is_another_data_set_in_another_python(real_study: Any) -> None:
    _, text, said = launch("--workers", 1, "--storage", real_study(dataset="stdlib"))
    assert text
    assert "the image needs the very release" in said
