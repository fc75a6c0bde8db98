"""What the Dockerfile says: steps that a shell can read, a user that is nobody special, what the manifest relies on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gloss_tune import __version__
from gloss_tune.clusters.kubernetes_manifest import KubernetesOptions, render_manifest
from gloss_tune.clusters.order import WorkerOrder
from tests.conftest import REPOSITORY
from tests.image import DOCKERFILE, Instruction, instructions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOUND = instructions(DOCKERFILE.read_text())
STEPS = [found.rest for found in FOUND if found.word == "RUN"]


def of(word: str) -> list[str]:
    return [found.rest for found in FOUND if found.word == word]


def test_instructions_are_read() -> None:
    assert instructions("# a\nFROM x\nRUN a \\\n  # within\n  && b\n\nCMD []\n") == [
        Instruction("FROM", "x"), Instruction("RUN", "a   && b"), Instruction("CMD", "[]"),
    ]  # fmt: skip


def test_words_and_their_order() -> None:
    words = [found.word for found in FOUND]
    assert set(words) <= {"ARG", "FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert words.count("FROM") == 1
    assert words[: words.index("FROM")] == ["ARG"], "the base is a build argument"
    assert of("FROM") == ["${BASE}"]
    assert of("ARG")[0].startswith("BASE=")
    assert ":latest" not in DOCKERFILE.read_text()
    assert re.search(r"^ARG BASE=[^\s:]+:[^\s:]+$", DOCKERFILE.read_text(), re.MULTILINE), "a base has a tag"


@pytest.mark.parametrize("step", STEPS)
def test_a_shell_can_read_each_step(step: str) -> None:
    subprocess.run(["sh", "-n", "-c", step], check=True, timeout=20)
    assert "sudo" not in step
    assert ";" not in step, "a failure in the middle would be passed over"


def test_packages_of_the_system_leave_nothing_behind() -> None:
    (step,) = [step for step in STEPS if "apt-get" in step]
    install = next(part for part in step.split("&&") if "install" in part)
    assert step.index("apt-get update") < step.index("apt-get install")
    assert {"--yes", "--no-install-recommends", "tini", "python3", "python3-venv"} <= set(install.split())
    assert step.endswith("rm -rf /var/lib/apt/lists/*")


def test_pip_takes_the_tested_versions_and_keeps_no_copies() -> None:
    (step,) = [step for step in STEPS if "pip install" in step]
    assert "--no-cache-dir" in step
    assert "--constraint /src/constraints.txt" in step
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (extras,) = [rest.partition("=")[2] for rest in of("ARG") if rest.startswith("EXTRAS=")]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert {"postgres", "offline"} <= set(extras.split(","))


def test_what_is_copied_is_there_and_is_all_that_docker_gets() -> None:
    copied = [source for rest in of("COPY") for source in rest.split()[:-1]]
    for source in copied:
        assert (REPOSITORY / source).exists(), source
    rules = [
        line
        for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == set(copied)
    built = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert {built["project"]["readme"], *built["project"]["license-files"]} <= set(copied), (
        "the build reads them"
    )


def test_no_secret_is_asked_for() -> None:
    told = " ".join(rest for word in ("ARG", "ENV") for rest in of(word)).lower()
    assert not any(word in told for word in ("password", "token", "secret", "storage"))


def test_it_is_what_the_manifest_relies_on() -> None:
    order = WorkerOrder("mr", "mr.0", 1, 0, 1, None, 5.0, "/data/a", None, ())
    text = render_manifest(order, KubernetesOptions(), 1)
    pod = yaml.safe_load(text)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert json.loads(of("ENTRYPOINT")[-1]) == container["command"]
    (user,) = of("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "by number, as runAsNonRoot compares"
    assert user == f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert FOUND.index(Instruction("USER", user)) > max(
        FOUND.index(Instruction("RUN", step)) for step in STEPS
    )
    environment = dict(word.split("=", 1) for rest in of("ENV") for word in rest.split())
    manifest = {one["name"]: one.get("value") for one in container["env"]}
    assert environment["HOME"] == manifest["HOME"] == of("WORKDIR")[-1]
    assert container["image"] == f"gloss-tune:{__version__}"
    tags = re.findall(r"--tag (\S+)", Path(DOCKERFILE).read_text())
    assert set(tags) == {container["image"]}, "the name that its head builds is the manifest's default"
