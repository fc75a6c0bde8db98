"""The Dockerfile's steps run for real, and a pod of the manifest played in what they make."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import yaml

from tests.acceptance.conftest import Commands, until
from tests.image import Image, ImageUnavailableError

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.prepared, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """With the packages of this test process, where the system's Python can use them; IMAGE=full installs all."""
    packages = Path(optuna.__file__).parents[1]
    same = Path(f"/usr/lib/python{sys.version_info.major}.{sys.version_info.minor}").exists()
    try:
        built = Image({}, packages if same and os.environ.get("IMAGE") != "full" else None)
    except ImageUnavailableError as error:
        pytest.skip(f"no image: {error}")
    yield built
    built.close()


class Pod:
    """One pod of the manifest: its command, environment and volumes, as the kubelet would give them."""

    def __init__(self, image: Image, manifest: dict[str, Any], url: str, name: str) -> None:
        spec = manifest["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        assert f"{spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}" == image.user
        values: dict[str, str] = {}
        fields = {"metadata.name": name, "spec.nodeName": "node-1"}
        for one in container["env"]:
            source = one.get("valueFrom", {})
            if "fieldRef" in source:
                values[one["name"]] = fields.get(source["fieldRef"]["fieldPath"], "")
            elif "resourceFieldRef" in source:
                resource = source["resourceFieldRef"]["resource"].removeprefix("requests.")
                values[one["name"]] = container["resources"]["requests"][resource]
            else:
                values[one["name"]] = self._expanded(one["value"], values)
        folder = image.folder / "volumes" / name
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        mounts = {}
        for mount in container["volumeMounts"]:
            volume = volumes[mount["name"]]
            place = folder / mount["name"]
            if "persistentVolumeClaim" in volume:
                place = image.folder / "volumes" / "claim"
            place.mkdir(parents=True, exist_ok=True)
            os.chown(place, 0, spec["securityContext"]["fsGroup"])
            place.chmod(0o2775)
            if "secret" in volume:
                file = place / volume["secret"]["items"][0]["path"]
                file.write_text(url + "\n")
                os.chown(file, 0, spec["securityContext"]["fsGroup"])
                file.chmod(volume["secret"]["defaultMode"])
            mounts[mount["mountPath"]] = place
        arguments = [self._expanded(argument, values) for argument in container["args"]]
        self.process = image.popen(
            [*container["command"], *arguments],
            env=values,
            volumes=mounts,
            read_only=container["securityContext"]["readOnlyRootFilesystem"],
        )

    @staticmethod
    def _expanded(text: str, values: dict[str, str]) -> str:
        return re.sub(
            r"\$\$|\$\(([^)]*)\)",
            lambda found: "$" if found[0] == "$$" else values.get(found[1], found[0]),
            text,
        )

    def terminate(self) -> None:
        """As the kubelet does: a TERM to the container's first process."""
        first = until(lambda: psutil.Process(self.process.pid).children())[0]
        first.send_signal(signal.SIGTERM)

    def ended(self, timeout: float = 120) -> tuple[int, str]:
        try:
            out, err = self.process.communicate(timeout=timeout)
        finally:
            self.process.kill()
        return self.process.returncode, out + err


@pytest.fixture
def manifest(commands: Commands, postgres_url: str) -> dict[str, Any]:
    commands.storage = postgres_url
    commands(
        "create", "--dataset", "mr", "--rehearse", "--rehearse-seconds", 3, "--trials", 3, "--lease", 4,
        "--pruner", "none",
    )  # fmt: skip
    printed = commands("launch", "--on", "kubernetes", "--workers", 2, "--cpus-per-worker", 2, "--grace", 2)
    found = yaml.safe_load(printed.stdout)
    assert isinstance(found, dict)
    return found


def test_what_the_steps_make(image: Image) -> None:
    ended = image.run([*image.entrypoint, "--version"], read_only=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("gloss-tune ")
    found = image.run(["sh", "-c", "id -u; id -g; which tini gloss-tune; ls /src /var/lib/apt/lists 2>&1"])
    assert found.stdout.split()[:2] == ["1000", "1000"]
    assert "/opt/gloss-tune/bin/gloss-tune" in found.stdout
    assert "/src': No such file" in found.stdout
    assert image.run(["touch", "/cache/x"]).returncode == 0, "its home is its own"
    assert image.run(["touch", "/opt/x"]).returncode != 0
    packaged = image.run(
        ["python", "-c", "import gloss_tune, pathlib; print(gloss_tune.__file__); "
         "assert (pathlib.Path(gloss_tune.__file__).parent / 'studies' / 'mr.toml').exists()"]
    )  # fmt: skip
    assert packaged.stdout.startswith("/opt/gloss-tune/lib/"), packaged.stderr


def test_pods_run_the_study_to_its_end(
    image: Image, manifest: dict[str, Any], commands: Commands, postgres_url: str
) -> None:
    pods = [
        Pod(image, manifest, postgres_url, f"{manifest['metadata']['name']}-{index}-abcde")
        for index in (0, 1)
    ]
    workers = until(lambda: commands.json("status")["workers"], timeout=60)
    assert {(worker["job"].partition("-mr")[0], worker["node"]) for worker in workers} == {
        ("kubernetes gloss-tune", "node-1")
    }
    for pod in pods:
        code, said = pod.ended()
        assert code == 0, said
        assert "Traceback" not in said
    assert [row["state"] for row in commands.json("trials")] == ["complete"] * 3
    assert any((image.folder / "volumes" / "claim" / "artifacts").iterdir()), "on the claim, by uid 1000"


@pytest.mark.parametrize("after", [0.0, 0.3, 4.0])
def test_a_pod_that_is_told_to_stop_hands_its_trial_back(
    after: float, image: Image, manifest: dict[str, Any], commands: Commands, postgres_url: str
) -> None:
    pod = Pod(image, manifest, postgres_url, "told-0-abcde")
    until(lambda: psutil.Process(pod.process.pid).children())
    until(lambda: "tini" in json.dumps([one.name() for one in psutil.Process(pod.process.pid).children()]))
    time.sleep(after)
    begun = time.monotonic()
    pod.terminate()
    code, said = pod.ended()
    assert code == 143, said
    spec = manifest["spec"]["template"]["spec"]
    assert time.monotonic() - begun < spec["terminationGracePeriodSeconds"], "no SIGKILL follows"
    trials = commands.json("status")["trials"]
    assert (trials["running"], trials["waiting"] + trials["complete"]) == (0, 3)
