"""A study's workers as a Job for kubectl; nothing is submitted from here, and nothing written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from gloss_tune.clusters.kubernetes_manifest import (
    KubernetesOptions,
    check_options,
    job_of,
    label_of,
    render_manifest,
)
from gloss_tune.clusters.order import Wish, WorkerOrder
from gloss_tune.data import DATASETS
from gloss_tune.data.hub_name import is_hub_name
from gloss_tune.errors import InputError
from gloss_tune.logging import logger
from gloss_tune.study.study import OpenStudy
from gloss_tune.wording import count


def as_pods_see(wish: Wish, options: KubernetesOptions, environment: Mapping[str, str] = os.environ) -> Wish:
    """The wish with folders on the claim: artifacts by default, and none that the environment names for this machine.

    Raises:
        InputError: Kubernetes would not take these names.
    """
    check_options(options)
    if _is_of_here("GLOSS_TUNE_DATA", wish.data_dir, options, environment):
        wish = replace(wish, data_dir=None)
    if _is_of_here("GLOSS_TUNE_ARTIFACTS", wish.artifacts, options, environment):
        wish = replace(wish, artifacts=None)
    return wish if wish.artifacts else replace(wish, artifacts=Path(f"{options.mount}/artifacts"))


def _is_of_here(
    variable: str, given: Path | None, options: KubernetesOptions, environment: Mapping[str, str]
) -> bool:
    if given is None or str(given) != environment.get(variable) or _on(str(given), options.mount):
        return False
    logger.info("%s is %s, a folder of this machine, which pods do not see: not used.", variable, given)
    return True


def prepare(order: WorkerOrder, options: KubernetesOptions, opened: OpenStudy) -> str:
    """The manifest; what is to be done with it is said.

    Args:
        order: the workers.
        options: Kubernetes' own, checked.
        opened: the study.

    Raises:
        InputError: something that workers need does not lie on the claim; more workers than a Job has.
    """
    _check_on_claim("--artifacts", order.artifacts, options.mount)
    if order.data_dir is not None:
        _check_on_claim("--data-dir", order.data_dir, options.mount)
    if not opened.spec.rehearse:
        _check_inputs(opened, options.mount, order.data_dir)
    text = render_manifest(order, options, opened.spec.trials)
    where, job = _where(options), job_of(order.files, opened.spec.trials)
    logger.info(
        "The Job %s of %s is for 'kubectl apply%s -f -'; nothing is submitted from here. It needs image, claim and "
        "Secret, as its first lines say. Repeated, it changes nothing, and with other --workers its size; one that has "
        "ended, or is to have another image or size of pods, is deleted before: kubectl delete job%s %s",
        job, count(order.workers, "worker"), where, where, job,
    )  # fmt: skip
    return text


def how_to_stop(files: str, options: KubernetesOptions) -> str:
    """The command that deletes a study's Jobs, which are found by their label whatever their names.

    Raises:
        InputError: Kubernetes would not take these names.
    """
    check_options(options)
    return f"kubectl delete jobs{_where(options)} --selector app.kubernetes.io/instance={label_of(files)}"


def _where(options: KubernetesOptions) -> str:
    return "" if options.namespace is None else f" --namespace {options.namespace}"


def _check_on_claim(option: str, path: str, mount: str) -> None:
    if not _on(path, mount):
        raise InputError(
            f"Pods on Kubernetes see the claim at {mount} and nothing of this machine, so {option} is a folder under "
            f"{mount}, or --mount says where else the claim is; got {path!r}"
        )


def _check_inputs(opened: OpenStudy, mount: str, data_dir: str | None) -> None:
    """Own files must be where pods find them: by the path that the study has, or by their name in ``--data-dir``."""
    dataset, model = opened.spec.dataset, opened.spec.model
    if dataset == "stdlib":
        logger.warning(
            "Data set stdlib is made of the documentation of the Python that runs: the image needs the very release "
            "that made the study, or its workers refuse."
        )
    own = dataset not in DATASETS and not is_hub_name(dataset)
    if own and data_dir is None and not _on(dataset, mount):
        name = PurePosixPath(dataset).name
        raise InputError(
            f"The study's data set is {dataset!r}, and pods on Kubernetes see the claim at {mount} and nothing of this "
            f"machine; copy it to the claim, as {mount}/data/{name}, and say --data-dir {mount}/data"
        )
    if model.startswith("/") and not _on(model, mount):
        raise InputError(
            f"The study's encoder is the folder {model!r}, and pods on Kubernetes see the claim at {mount} and nothing "
            "of this machine; create the study where the claim is mounted by the same path (--mount), or with a name "
            "on the Hugging Face Hub"
        )


def _on(path: str, mount: str) -> bool:
    place = PurePosixPath(path)
    return ".." not in place.parts and place.is_relative_to(mount)
