"""`launch --on`: what is refused before anything is written, and where the storage's URL goes."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gloss_tune.cli import app
from gloss_tune.clusters import slurm
from gloss_tune.clusters.secret_file import url_file, write_secret
from gloss_tune.errors import GlossTuneError, InputError
from tests.integration.studies import FILES, make

RUN = CliRunner()


def launch(*arguments: object) -> tuple[int, str, str]:
    ended = RUN.invoke(app, ["launch", *map(str, arguments)])
    if isinstance(ended.exception, GlossTuneError):  # what main() does with it
        return ended.exception.exit_code, ended.stdout, str(ended.exception)
    return ended.exit_code, ended.stdout, ended.output


def check_nothing_written(engine: str, url: str, folder: Path, options: list[object], message: str) -> None:
    """That a launch is refused by a message, and leaves a folder as it is."""
    make(url)
    before = sorted(folder.rglob("*"))
    code, out, err = launch("--on", engine, "--storage", url, *options)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert sorted(folder.rglob("*")) == before


def checked_dry_run(engine: str, url: str, artifacts: Path) -> tuple[str, tuple[object, ...]]:
    """What would be submitted, which names the URL's file and not the URL; and the options without ``--dry-run``."""
    make(url)
    options = ("--on", engine, "--workers", 2, "--storage", url, "--artifacts", artifacts)
    code, text, _ = launch(*options, "--dry-run")
    assert code == 0
    secret = artifacts / "launch" / FILES / "url"
    assert secret.read_text().strip() == url
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert url not in text
    assert f"--storage @{secret}" in text
    return text, options


@pytest.fixture
def no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


def test_sqlite_is_refused_with_a_way_out_that_exists(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    make(url)
    code, out, err = launch(
        "--on", "slurm", "--workers", 2, "--storage", url, "--artifacts", tmp_path / "a", "--dry-run"
    )
    assert (code, out) == (2, "")
    assert "an SQLite file is safe on one alone" in err
    assert "Create the study on Postgres" in " ".join(err.split())
    assert not (tmp_path / "a").exists()


@pytest.mark.postgres
@pytest.mark.usefixtures("no_slurm")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Say --workers N"),
        (["--workers", 2, "--artifacts", "here"], "--artifacts is an absolute path"),
        (["--workers", 2, "--memory", "much"], "--memory is a size"),
        (["--workers", 2, "--time", "soon"], "--time is Slurm's"),
        (["--workers", 2, "--partition", "a b"], "--partition is a name"),
        (["--workers", 2, "--sbatch-arg", "qos"], "--sbatch-arg is one whole option"),
        (["--workers", 2, "--until", "23:00"], "--until is for workers on this machine"),
        (
            ["--workers", 2, "--workers-per-device", "2"],
            "--workers-per-device is for workers on this machine",
        ),
    ],
)
def test_wrong_input_is_refused_before_anything_is_written(
    options: list[object], message: str, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_nothing_written("slurm", postgres_url, tmp_path, options, message)


@pytest.mark.parametrize(
    "option",
    ["--gpus-per-worker=0", "--cpus-per-worker=2", "--memory=1G", "--dry-run", "--stop", "--time=1h", "--partition=p",
     "--account=a", "--sbatch-arg=-x"],
)  # fmt: skip
def test_options_of_a_cluster_need_one(option: str, tmp_path: Path) -> None:
    code, _, err = launch(option, "--storage", f"sqlite:///{tmp_path}/none.db")
    assert code == 2
    assert f"{option.partition('=')[0]} is for launch --on slurm" in " ".join(err.split())


@pytest.mark.postgres
@pytest.mark.usefixtures("no_slurm")
def test_the_url_is_in_its_owners_file_alone(postgres_url: str, tmp_path: Path) -> None:
    text, options = checked_dry_run("slurm", postgres_url, tmp_path / "a")
    assert "--gres" not in text, "a rehearsal needs no GPU"
    code, out, err = launch(*options)
    assert (code, out) == (2, "")
    assert "There is no sbatch on this machine" in " ".join(err.split())


@pytest.mark.postgres
@pytest.mark.usefixtures("no_slurm")
def test_a_url_file_of_ones_own_is_used_as_it_is(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(postgres_url)
    write_secret(tmp_path / "my-url", postgres_url)
    monkeypatch.chdir(tmp_path)
    code, text, _ = launch("--on", "slurm", "--workers", 1, "--storage", "@my-url", "--dry-run")
    assert code == 0
    assert f"--storage @{tmp_path}/my-url" in text
    assert f"--artifacts {tmp_path}/gloss-tune-artifacts" in text
    assert not list(tmp_path.rglob("launch/*/url"))


def test_a_url_file_that_others_may_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("gloss_tune"), "propagate", True)
    path = write_secret(tmp_path / "url", "postgresql://u:p@h/d")
    assert url_file(f"@{path}", tmp_path) == path
    assert "chmod 600" not in caplog.text
    path.chmod(0o640)
    url_file(f"@{path}", tmp_path)
    assert "chmod 600" in caplog.text


def test_a_secret_takes_the_place_of_an_open_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("old")
    (tmp_path / "url").chmod(0o644)
    write_secret(tmp_path / "url", "new")
    assert (tmp_path / "url").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "url").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["url"]


def test_what_sbatch_gets_holds_no_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm keeps a job's environment where others may look."""
    sbatch = tmp_path / "sbatch"
    sbatch.write_text(
        f'#!/bin/sh\nprintenv >{tmp_path}/environment\necho "$@" >{tmp_path}/arguments\necho "17;c"\n'
    )
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("GLOSS_TUNE_STORAGE", "postgresql://u:secret@h/d")
    (tmp_path / "launch" / FILES).mkdir(parents=True)
    order = slurm.WorkerOrder("study", FILES, 1, 0, 1, None, 5.0, str(tmp_path), None, ())
    assert slurm.submit(order, "#!/bin/bash\n") == "17"
    assert "secret" not in (tmp_path / "environment").read_text() + (tmp_path / "arguments").read_text()
    assert (tmp_path / "arguments").read_text().split() == ["--parsable", f"{tmp_path}/launch/{FILES}/job.sh"]


@pytest.mark.postgres
@pytest.mark.usefixtures("no_slurm")
def test_stop_needs_slurms_commands(postgres_url: str) -> None:
    make(postgres_url)
    code, out, err = launch("--on", "slurm", "--stop", "--storage", postgres_url)
    assert (code, out) == (2, "")
    assert "There is no squeue on this machine" in " ".join(err.split())


def test_a_folder_that_cannot_be_written_to_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="name another folder by --artifacts"):
        url_file("postgresql://u:p@h/d", tmp_path / "file" / "x")
