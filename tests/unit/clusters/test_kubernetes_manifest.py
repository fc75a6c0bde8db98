"""The text of a Kubernetes Job: its schema in nine releases, what no schema says, and what stays text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gloss_tune.clusters.kubernetes_manifest import (
    KubernetesOptions,
    check_options,
    job_of,
    label_of,
    render_manifest,
)
from gloss_tune.clusters.order import WorkerOrder
from gloss_tune.errors import ExitCode, InputError

RELEASES = [f"1.{minor}" for minor in range(29, 38)]
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")  # RFC 1123
ORDER = WorkerOrder(
    study="mr",
    files="mr.5f0c",
    workers=8,
    gpus=1,
    cpus=4,
    memory=16384,
    grace=5.0,
    artifacts="/data/artifacts",
    epoch_seconds=None,
    arguments=("--leave-when-empty", "--grace", "5"),
)
PLAIN = dataclasses.replace(ORDER, gpus=0, memory=None)
OPTIONS = KubernetesOptions("registry.example.org/team/gloss-tune:1", "team", "shared", "postgres", "/claim")


def manifest(
    order: WorkerOrder = ORDER, options: KubernetesOptions | None = None, budget: int = 20
) -> dict[str, Any]:
    found = yaml.safe_load(render_manifest(order, options or KubernetesOptions(), budget))
    assert isinstance(found, dict)
    return found


def pod(order: WorkerOrder = ORDER, options: KubernetesOptions | None = None) -> Any:
    return manifest(order, options)["spec"]["template"]["spec"]


def container(order: WorkerOrder = ORDER, options: KubernetesOptions | None = None) -> Any:
    (only,) = pod(order, options)["containers"]
    return only


def expanded(argument: str, variables: dict[str, str]) -> str:
    """As the kubelet reads an argument: ``$(NAME)`` is a variable's value, ``$$`` a dollar."""
    return re.sub(
        r"\$\$|\$\(([^)]*)\)",
        lambda found: "$" if found[0] == "$$" else variables.get(found[1], found[0]),
        argument,
    )


def values(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """All scalars but the keys."""
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for part in node.value:
            yield from values(part)
    elif isinstance(node, yaml.MappingNode):
        for _, part in node.value:
            yield from values(part)


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_takes_it(release: str) -> None:
    for found in (manifest(), manifest(PLAIN), manifest(ORDER, OPTIONS)):
        kubernetes_validate.validate(found, release, strict=True)


def test_the_validator_sees_what_is_wrong() -> None:
    found = manifest()
    found["spec"]["completions"] = "8"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(found, RELEASES[0], strict=True)


def test_an_index_for_each_worker() -> None:
    spec = manifest()["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 8, 8)
    assert spec["backoffLimitPerIndex"] == 6
    assert "backoffLimit" not in spec, "one index that fails would end the others"
    assert spec["podReplacementPolicy"] == "Failed", "the only one that goes with a policy for failures"


def test_what_a_policy_for_failures_needs_and_a_schema_does_not_say() -> None:
    spec = manifest()["spec"]
    rules = spec["podFailurePolicy"]["rules"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    names = {one["name"] for one in spec["template"]["spec"]["containers"]}
    assert 0 < len(rules) <= 20
    for rule in rules:
        assert ("onExitCodes" in rule) != ("onPodConditions" in rule), "one of the two"
        assert rule["action"] in ("Ignore", "FailJob", "Count", "FailIndex")
        if codes := rule.get("onExitCodes"):
            assert codes["containerName"] in names
            assert codes["operator"] == "In"
            assert codes["values"] == sorted(set(codes["values"])), "ascending, each once"
            assert 0 not in codes["values"]
            assert all(0 < code < 256 for code in codes["values"])
        else:
            assert all({"type", "status"} == set(condition) for condition in rule["onPodConditions"])


def decided(code: int, disrupted: bool = False) -> str:
    """What the Job's controller does with a pod that failed: the first rule that fits."""
    for rule in manifest()["spec"]["podFailurePolicy"]["rules"]:
        if "onExitCodes" in rule and code in rule["onExitCodes"]["values"]:
            return str(rule["action"])
        if "onPodConditions" in rule and disrupted:
            return str(rule["action"])
    return "Count"


@pytest.mark.parametrize(
    ("code", "action"),
    [
        (ExitCode.WRONG_INPUT, "FailJob"),
        (ExitCode.STUDY_STOPPED, "FailJob"),
        (ExitCode.WORK_LEFT, "Ignore"),
        (130, "Ignore"),
        (143, "Ignore"),
        (1, "Count"),
        (ExitCode.STORAGE_AWAY, "Count"),
        (137, "Count"),
    ],
)
def test_how_a_worker_ends_says_what_becomes_of_its_index(code: int, action: str) -> None:
    assert decided(code) == action
    assert decided(code, disrupted=True) == "Ignore", (
        "a drained node is nobody's fault, whatever the worker said"
    )


@pytest.mark.parametrize(("grace", "seconds"), [(0.0, 15), (5.0, 20), (5.2, 21), (120.0, 135)])
def test_a_pod_has_the_workers_grace_and_more(grace: float, seconds: int) -> None:
    assert pod(dataclasses.replace(ORDER, grace=grace))["terminationGracePeriodSeconds"] == seconds


def test_the_url_is_a_file_of_a_secret_that_the_worker_may_read() -> None:
    found = pod(ORDER, OPTIONS)
    volumes = {volume["name"]: volume for volume in found["volumes"]}
    assert volumes["url"]["secret"]["secretName"] == "postgres"
    (item,) = volumes["url"]["secret"]["items"]
    mounts = {mount["name"]: mount for mount in container()["volumeMounts"]}
    arguments = container()["args"]
    place = f"{mounts['url']['mountPath']}/{item['path']}"
    assert arguments[arguments.index("--storage") + 1] == f"@{place}"
    mode = volumes["url"]["secret"]["defaultMode"]
    assert (mode & 0o040, mode & 0o007) == (0o040, 0), "its group reads it, others do not"
    assert found["securityContext"]["fsGroup"] == found["securityContext"]["runAsGroup"]
    assert "secretKeyRef" not in str(found), "the environment of a pod is shown to many"


def test_artifacts_and_data_lie_on_the_claim() -> None:
    found = pod(ORDER, OPTIONS)
    volumes = {volume["name"]: volume for volume in found["volumes"]}
    assert volumes["data"] == {"name": "data", "persistentVolumeClaim": {"claimName": "shared"}}
    mounts = {mount["name"]: mount["mountPath"] for mount in container(ORDER, OPTIONS)["volumeMounts"]}
    assert mounts["data"] == "/claim"
    assert set(mounts) == set(volumes), "what is mounted is there, and what is there is mounted"
    assert {name for name, volume in volumes.items() if volume.get("emptyDir") == {}} == {"cache", "tmp"}


def test_the_worker_is_nobody_special() -> None:
    found = pod()
    assert found["automountServiceAccountToken"] is False
    context = found["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = {mount["mountPath"] for mount in container()["volumeMounts"] if not mount.get("readOnly")}
    environment = {one["name"]: one.get("value") for one in container()["env"]}
    assert {environment["HOME"], "/tmp", container()["workingDir"]} <= writable


def test_threads_come_from_the_cpus_that_are_asked_for() -> None:
    environment = {one["name"]: one for one in container()["env"]}
    field = environment["GLOSS_TUNE_THREADS"]["valueFrom"]["resourceFieldRef"]
    assert field == {"containerName": "worker", "resource": "requests.cpu"}
    assert container()["resources"]["requests"]["cpu"] == "4"
    assert "--threads" not in container()["args"]
    own = container(dataclasses.replace(ORDER, threads=2))["args"]
    assert own[own.index("--threads") + 1] == "2", "a number of one's own wins over the environment"


def test_what_each_pod_gets() -> None:
    assert container()["resources"] == {
        "requests": {"cpu": "4", "memory": "16384Mi"},
        "limits": {"memory": "16384Mi", "nvidia.com/gpu": "1"},
    }
    assert container(PLAIN)["resources"] == {"requests": {"cpu": "4"}}


def test_a_pod_knows_whether_others_were_in_its_place() -> None:
    paths = {
        one["name"]: one.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        for one in container()["env"]
    }
    assert (
        paths["GLOSS_TUNE_FAILURES"] == "metadata.annotations['batch.kubernetes.io/job-index-failure-count']"
    )
    ignored = "metadata.annotations['batch.kubernetes.io/job-index-ignored-failure-count']"
    assert paths["GLOSS_TUNE_IGNORED_FAILURES"] == ignored
    assert "GLOSS_TUNE_JOB" in paths, "without which nobody asks"


def test_tini_is_the_first_process_and_passes_signals_on() -> None:
    assert container()["command"] == ["tini", "--", "gloss-tune"]
    assert container()["args"][0] == "worker"


def test_a_variable_stands_before_its_use() -> None:
    names = [one["name"] for one in container()["env"]]
    for index, one in enumerate(container()["env"]):
        for used in re.findall(r"\$\(([^)]*)\)", one.get("value", "")):
            assert used in names[:index], "else it is text"


@pytest.mark.parametrize("path", ["/data/$(POD)", "/data/$HOME", "/data/a$$b", "/data/x$", "/data/$$(POD)"])
def test_a_dollar_in_an_argument_is_a_dollar(path: str) -> None:
    order = dataclasses.replace(ORDER, artifacts=path)
    given = [expanded(argument, {"POD": "p-0-abcde"}) for argument in container(order)["args"]]
    assert given == order.command("@/run/gloss-tune/url", engine_tells_cpus=True)


WORDS = [
    "yes", "no", "on", "null", "true", "1e5", "0x1F", "1_000", "2026-11-25", "12:30", "1.5",
    "0o17", ".inf", "NaN", "007",
]  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_what_is_text_stays_text_for_every_reader(name: str) -> None:
    order = dataclasses.replace(ORDER, study=name, files=f"{name}.0", artifacts=f"/data/{name}")
    text = render_manifest(order, KubernetesOptions(namespace="yes", claim="1e5", secret="null"), 20)
    found = yaml.safe_load(text)
    assert found["metadata"]["annotations"]["gloss-tune/study"] == name
    arguments = found["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[arguments.index("--study") + 1] == name
    assert found["metadata"]["namespace"] == "yes"
    loaded = yaml.load(text, Loader=yaml.BaseLoader)  # which takes every scalar for text
    for node in values(yaml.compose(text, Loader=yaml.SafeLoader)):
        assert node.style == '"' or re.fullmatch(r"\d+|true|false", node.value), node.value
    assert loaded["spec"]["template"]["spec"]["containers"][0]["args"] == arguments


@pytest.mark.parametrize(
    "path",
    [
        '/data/a "b"',
        "/data/a: b #c",
        "/data/ä€😀",
        "/data/'",
        "/data/\\n",
        "/data/{x}",
        "/data/" + "long " * 500,
    ],
)
def test_paths_of_all_kinds_come_back_as_they_were(path: str) -> None:
    arguments = container(dataclasses.replace(ORDER, artifacts=path))["args"]
    assert arguments[arguments.index("--artifacts") + 1] == path


@pytest.mark.parametrize(
    "files",
    ["mr.5f0c", "1e5.0", "A.b_c-d.0", "x" * 200 + ".0", "a" * 21 + "-.1", "9.0", "a-.-_-b.0"],
)
def test_names_are_labels_and_leave_room_for_a_pods(files: str) -> None:
    for name in (label_of(files), job_of(files, 10**6)):
        assert LABEL.fullmatch(name)
        assert len(f"{name}-99999-abcde") <= 63
    found = manifest(dataclasses.replace(ORDER, files=files))
    assert found["metadata"]["name"] == job_of(files, 20)
    for labels in (found["metadata"]["labels"], found["spec"]["template"]["metadata"]["labels"]):
        assert all(
            re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value) for value in labels.values()
        )
        assert labels["app.kubernetes.io/instance"] == label_of(files)


def test_studies_whose_names_kubernetes_cannot_tell_apart_have_jobs_of_their_own() -> None:
    names = ["a.b", "a-b", "A.b", "a_b", "a..b", *("x" * length for length in (40, 41, 200))]
    assert len({label_of(name) for name in names}) == len(names)


def test_the_same_work_is_the_same_job_and_more_work_another() -> None:
    assert job_of("mr.0", 20) == job_of("mr.0", 20)
    assert job_of("mr.0", 20) != job_of("mr.0", 30)
    assert manifest(dataclasses.replace(ORDER, workers=9))["metadata"] == manifest()["metadata"], (
        "its size may change"
    )


def test_the_head_is_for_people_and_names_no_study() -> None:
    text = render_manifest(dataclasses.replace(ORDER, study="x\nkind: Secret"), OPTIONS, 20)
    head = [line for line in text.splitlines() if line.startswith("#")]
    assert any(
        "kubectl create secret generic postgres --namespace team --from-file=url=" in line for line in head
    )
    assert len(list(yaml.safe_load_all(text))) == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("image", image) for image in [
            "", " ", "UPPER", "a b", "a:", "a::b", "x:tag:tag", "a\nb", "x@sha256:short", "-a", "http://a/b",
            "x:" + "t" * 129, "$(POD)", "a/", "é", "x" * 600,
        ]),
        *(("namespace", name) for name in ["", "A", "a.b", "-a", "a-", "a_b", "x" * 64, "a\n", "a b", "١"]),
        *(("claim", name) for name in ["", "A", "a..b", ".a", "a.", "a/b", "-a", "x" * 254, "a\n", "a.-b"]),
        *(("secret", name) for name in ["", "A", "a..b", "a b", "x" * 254, "a\n---"]),
        *(("mount", path) for path in [
            "", "/", "data", "//", "/a:b", "/a\nb", "/data/", "/data/../etc", "/tmp", "/tmp/x", "/run",
            "/run/gloss-tune/x", "/cache", "/proc/1", "/dev",
        ]),
    ],
)  # fmt: skip
def test_names_that_kubernetes_does_not_take_are_refused(option: str, value: str) -> None:
    with pytest.raises(InputError, match=f"^--{option} is ") as refused:
        check_options(KubernetesOptions(**{option: value}))
    assert "\n" not in str(refused.value)
    assert str(refused.value).endswith(f"got {value!r}")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("image", image) for image in [
            "gloss-tune", "gloss-tune:0.2.0", "ghcr.io/a/b_c/d__e--f:v1.0_x", "localhost:5000/x",
            "Registry.example.org:5000/x", "x@sha256:" + "0a" * 32, "r.io/x:1@sha256:" + "ab" * 32,
        ]),
        *(("namespace", name) for name in ["a", "team-1", "1", "x" * 63]),
        *(("claim", name) for name in ["a.b", "nfs-1", ".".join(["x" * 63] * 3)]),
        *(("mount", path) for path in ["/data", "/shared/data sets", "/mnt/x.y", "/cached", "/running"]),
    ],
)  # fmt: skip
def test_names_that_kubernetes_takes(option: str, value: str) -> None:
    check_options(KubernetesOptions(**{option: value}))


def test_more_workers_than_a_job_has_are_refused() -> None:
    with pytest.raises(InputError, match="--workers is at most 100000 on Kubernetes; got 100001"):
        manifest(dataclasses.replace(ORDER, workers=100_001))
