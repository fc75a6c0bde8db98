"""The examples of studies/cluster are what `launch --on … --dry-run` prints; RENEW=1 writes them anew."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from gloss_tune.cli import app
from gloss_tune.clusters.secret_file import write_secret
from tests.conftest import REPOSITORY
from tests.integration.studies import make

EXAMPLES = REPOSITORY / "studies" / "cluster"
COMMON = ["--workers", "8", "--gpus-per-worker", "1", "--cpus-per-worker", "4", "--memory", "16G"]
CALLS = {
    "slurm.sh": ["slurm", "--time", "4h", "--partition", "gpu", "--artifacts", "{shared}/artifacts"],
    "ray.sh": ["ray", "--address", "http://head:8265", "--artifacts", "{shared}/artifacts"],
    "kubernetes.yaml": ["kubernetes", "--image", "registry.example.org/gloss-tune:1", "--namespace", "team"],
}


def test_there_is_one_for_each_engine_and_the_readme_names_it() -> None:
    assert {file.name for file in EXAMPLES.iterdir()} == {*CALLS, "README.md"}
    readme = (EXAMPLES / "README.md").read_text()
    for name, call in CALLS.items():
        assert f"`{name}`" in readme
        said = " ".join(["--on", call[0], *COMMON, *call[1:]]).replace("{shared}", "/shared")
        assert f"gloss-tune launch {said} " in readme.replace("\\\n    ", ""), "the call that prints it"


@pytest.mark.postgres
@pytest.mark.parametrize("name", CALLS)
def test_an_example_is_what_the_code_renders(
    name: str, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a study named mr, by a Python in /shared/venv, with the URL in a file there."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("GLOSS_TUNE_DATA", raising=False)
    make(postgres_url, "mr", trials=100)
    shared = tmp_path / "shared"
    shared.mkdir()
    write_secret(shared / "url", postgres_url)
    call = [part.format(shared=shared) for part in CALLS[name]]
    ended = CliRunner().invoke(
        app, ["launch", "--on", call[0], *COMMON, *call[1:], "--storage", f"@{shared}/url", "--dry-run"]
    )
    assert ended.exit_code == 0, ended.output
    text = ended.stdout.replace(str(shared), "/shared").replace(sys.executable, "/shared/venv/bin/python")
    if os.environ.get("RENEW"):
        (EXAMPLES / name).write_text(text)
    assert (EXAMPLES / name).read_text() == text, f"write it anew: RENEW=1 pytest {Path(__file__).name}"
    assert str(tmp_path) not in text


def test_examples_can_be_read_by_what_they_are_for() -> None:
    for name in ("slurm.sh", "ray.sh"):
        subprocess.run(["bash", "-n", EXAMPLES / name], check=True, timeout=20)
    found = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())
    kubernetes_validate.validate(found, "1.37", strict=True)
