"""The text of a Kubernetes Job: an Indexed Job whose pods are workers, to pipe to ``kubectl apply -f -``.

It is written from values alone. What is left unsaid is the cluster's to choose, or the user's to add.
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, ClassVar

import yaml

from gloss_tune import __version__
from gloss_tune.clusters.order import WorkerOrder
from gloss_tune.errors import InputError

_MARGIN_SECONDS = 15  # what a worker needs beyond its grace, to hand its trial back and leave
_RETRIES_OF_ONE = 6
_KEPT_SECONDS = 86_400  # an ended Job with what its pods have printed
_MOST_WORKERS = 100_000  # of an Indexed Job
_USER = 1000  # as in the Dockerfile
_SECRET_PLACE, _CACHE = "/run/gloss-tune", "/cache"
# A pod is called by the Job's name, its index and five letters, and may have 63 characters
_LONGEST_NAME = 50
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_IMAGE = (
    r"([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?/)?"
    r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,128})?"
)


@dataclass(frozen=True)
class KubernetesOptions:
    """What only Kubernetes needs to know.

    Args:
        image: that holds gloss-tune and tini; None for the one that the Dockerfile's head builds.
        namespace: of the Job; None for kubectl's own.
        claim: name of the ReadWriteMany claim with artifacts and data.
        secret: name of the Secret whose key ``url`` is the storage's URL.
        mount: where the pods see the claim.
    """

    engine: ClassVar = "Kubernetes"
    image: str | None = None
    namespace: str | None = None
    claim: str = "gloss-tune"
    secret: str = "gloss-tune"
    mount: str = "/data"


def check_options(options: KubernetesOptions) -> None:
    """Whether Kubernetes would take these names.

    Raises:
        InputError: it would not.
    """
    for option, value, pattern, longest, rule in (
        ("--image", options.image, _IMAGE, 512, "an image's name, as in registry.example.org/gloss-tune:1"),
        ("--namespace", options.namespace, _LABEL, 63, "lower-case letters, digits and '-', 63 at most"),
        ("--claim", options.claim, _SUBDOMAIN, 253, "a claim's name of lower-case letters, digits, '-' and '.'"),
        ("--secret", options.secret, _SUBDOMAIN, 253, "a Secret's name of lower-case letters, digits, '-' and '.'"),
    ):  # fmt: skip
        if value is not None and (len(value) > longest or not re.fullmatch(pattern, value)):
            raise InputError(f"{option} is {rule}; got {value!r}")
    mount = PurePosixPath(options.mount)
    taken = [PurePosixPath(place) for place in (_SECRET_PLACE, _CACHE, "/tmp", "/proc", "/sys", "/dev")]
    if (
        not re.fullmatch(r"(/[^/:\x00-\x1f\x7f]+)+", options.mount)
        or ".." in mount.parts
        or any(mount.is_relative_to(place) or place.is_relative_to(mount) for place in taken)
    ):
        raise InputError(
            "--mount is the absolute path of a folder that pods have for nothing else, such as /data; "
            f"got {options.mount!r}"
        )


def label_of(files: str) -> str:
    """What all Jobs of a study are labelled with; a digest keeps studies apart whose names Kubernetes cannot tell."""
    plain = re.sub(r"[^a-z0-9]+", "-", files.lower())[: _LONGEST_NAME - len("gloss-tune--12345678-12345678")]
    return f"gloss-tune-{plain.strip('-')}-{_digest(files)}"


def job_of(files: str, budget: int) -> str:
    """The Job's name: the same for the same work, so that a repeated ``apply`` is none; another after ``extend``."""
    return f"{label_of(files)}-{_digest(str(budget))}"


def render_manifest(order: WorkerOrder, options: KubernetesOptions, budget: int) -> str:
    """The manifest, with what has to be there before as comments.

    Args:
        order: the workers.
        options: Kubernetes' own, as :func:`check_options` takes them.
        budget: how many trials the study has.

    Raises:
        InputError: more workers than a Job has.
    """
    if order.workers > _MOST_WORKERS:
        raise InputError(f"--workers is at most {_MOST_WORKERS} on Kubernetes; got {order.workers}")
    where = f" --namespace {options.namespace}" if options.namespace else ""
    head = (
        f"# Before: a claim {options.claim} (ReadWriteMany), and the storage's URL, as pods reach it, as a Secret:\n"
        f"#   kubectl create secret generic {options.secret}{where} --from-file=url=URLFILE\n"
        f"# Then: kubectl apply{where} -f THIS-FILE\n"
    )
    job = _quoted(_job(order, options, budget))
    return head + yaml.dump(job, Dumper=_Dumper, sort_keys=False, width=sys.maxsize, allow_unicode=True)


def _job(order: WorkerOrder, options: KubernetesOptions, budget: int) -> dict[str, Any]:
    labels = {
        "app.kubernetes.io/name": "gloss-tune",
        "app.kubernetes.io/component": "worker",
        "app.kubernetes.io/instance": label_of(order.files),
    }
    metadata: dict[str, Any] = {"name": job_of(order.files, budget)}
    if options.namespace is not None:
        metadata["namespace"] = options.namespace
    metadata |= {"labels": labels, "annotations": {"gloss-tune/study": order.study}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            # Indexed: a plain work-queue Job starts no new pod once one has succeeded
            "completionMode": "Indexed",
            "completions": order.workers,
            "parallelism": order.workers,
            "backoffLimitPerIndex": _RETRIES_OF_ONE,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _FAILURE_RULES},
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "template": {"metadata": {"labels": labels}, "spec": _pod(order, options)},
        },
    }


_FAILURE_RULES: list[dict[str, Any]] = [
    # a drained node, a preemption, an eviction: not the worker's fault
    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    # wrong input, and a study that somebody has stopped: no other pod would do better
    {"action": "FailJob", "onExitCodes": {"containerName": "worker", "operator": "In", "values": [2, 3]}},
    # left on request or by a signal: the trial waits, and another pod goes on with it
    {
        "action": "Ignore",
        "onExitCodes": {"containerName": "worker", "operator": "In", "values": [75, 130, 143]},
    },
]


def _pod(order: WorkerOrder, options: KubernetesOptions) -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": math.ceil(order.grace) + _MARGIN_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # a Service named gloss-tune would set GLOSS_TUNE_…
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",  # a large claim is not walked through by every pod
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(order, options)],
        "volumes": [
            # read by the group alone, which fsGroup makes the worker's
            {
                "name": "url",
                "secret": {
                    "secretName": options.secret,
                    "defaultMode": 0o440,
                    "items": [{"key": "url", "path": "url"}],
                },
            },
            {"name": "data", "persistentVolumeClaim": {"claimName": options.claim}},
            {"name": "cache", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _container(order: WorkerOrder, options: KubernetesOptions) -> dict[str, Any]:
    requests: dict[str, Any] = {"cpu": str(order.cpus)}
    limits: dict[str, Any] = {}
    if order.memory is not None:
        requests["memory"] = limits["memory"] = f"{order.memory}Mi"
    if order.gpus:
        limits["nvidia.com/gpu"] = str(order.gpus)
    command = order.command(f"@{_SECRET_PLACE}/url", engine_tells_cpus=True)
    return {
        "name": "worker",
        "image": options.image or f"gloss-tune:{__version__}",
        # process 1 hears no signal that it has no handler for: tini has, and passes them on
        "command": ["tini", "--", "gloss-tune"],
        "args": [argument.replace("$", "$$") for argument in command],  # $(NAME) would be a variable's
        "workingDir": _CACHE,
        "env": [
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "GLOSS_TUNE_JOB", "value": "kubernetes $(POD)"},  # of a variable that stands before it
            {"name": "GLOSS_TUNE_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {
                "name": "GLOSS_TUNE_THREADS",
                "valueFrom": {"resourceFieldRef": {"containerName": "worker", "resource": "requests.cpu"}},
            },
            # of the pods that were in its place before: see jobs.py
            {"name": "GLOSS_TUNE_FAILURES", "valueFrom": _annotation("job-index-failure-count")},
            {
                "name": "GLOSS_TUNE_IGNORED_FAILURES",
                "valueFrom": _annotation("job-index-ignored-failure-count"),
            },
            {"name": "HOME", "value": _CACHE},
            {"name": "LOGNAME", "value": "gloss-tune"},  # asked for where the image does not know the user
        ],
        "resources": {"requests": requests, **({"limits": limits} if limits else {})},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "url", "mountPath": _SECRET_PLACE, "readOnly": True},
            {"name": "data", "mountPath": options.mount},
            {"name": "cache", "mountPath": _CACHE},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }


def _annotation(name: str) -> dict[str, Any]:
    """What the Job's controller notes of a pod; empty where it notes nothing."""
    return {"fieldRef": {"fieldPath": f"metadata.annotations['batch.kubernetes.io/{name}']"}}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class _Text(str):
    """A value that is written between quotes: readers of YAML do not agree on which words are none (yes, 1e5)."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    _Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')
)


def _quoted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _quoted(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_quoted(part) for part in value]
    return _Text(value) if isinstance(value, str) else value
