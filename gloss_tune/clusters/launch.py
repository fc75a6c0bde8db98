"""``launch --on``: one study's workers, asked of a cluster, which starts, places, replaces and ends them."""

from __future__ import annotations

from pathlib import Path

from gloss_tune.clusters import kubernetes, ray_jobs, slurm
from gloss_tune.clusters.kubernetes_manifest import KubernetesOptions
from gloss_tune.clusters.order import Wish, place_order
from gloss_tune.clusters.ray_jobs import RayOptions
from gloss_tune.clusters.slurm_script import SlurmOptions
from gloss_tune.errors import InputError
from gloss_tune.logging import logger
from gloss_tune.queue.steering import Steering, how_to_resume, read_steering
from gloss_tune.study.status import trial_counts
from gloss_tune.study.study import OpenStudy, open_study

Options = SlurmOptions | RayOptions | KubernetesOptions


def launch_on(storage: str, study: str | None, wish: Wish, options: Options, *, dry_run: bool = False) -> str:
    """Ask an engine for a study's workers.

    Args:
        storage: the study's database, as given.
        study: its name; may be None where the storage holds one.
        wish: the workers.
        options: the engine's own; they say which it is.
        dry_run: give what would be submitted instead.

    Returns:
        What belongs on stdout: the job's id, or the text; empty if nothing is left to run. To Kubernetes nothing is
        submitted: the text is for ``kubectl apply -f -``.

    Raises:
        InputError: something is not fit for many machines; nothing was submitted.
        GlossTuneError: the engine refuses.
    """
    opened = open_study(storage, study)
    if isinstance(options, KubernetesOptions):
        wish = kubernetes.as_pods_see(wish, options)
    order = place_order(opened, storage, wish, options.engine, str(Path("gloss-tune-artifacts").absolute()))
    if not dry_run and _nothing_to_run(opened):
        return ""
    match options:
        case RayOptions():
            command = ray_jobs.prepare(order, options, storage)
            return ray_jobs.shown(command, options) if dry_run else ray_jobs.submit(order, options, command)
        case SlurmOptions():
            text = slurm.prepare(order, options, storage)
            return text if dry_run else slurm.submit(order, text)
        case KubernetesOptions():
            return kubernetes.prepare(order, options, opened)


def stop_on(storage: str, study: str | None, options: Options) -> str:
    """Cancel what was submitted for a study; returns the jobs' ids, one a line.

    Args:
        storage: the study's database, as given.
        study: its name; may be None where the storage holds one.
        options: the engine's own; they say which it is.

    Raises:
        InputError: the engine's commands are not here, or kubectl's are the ones that do it.
        GlossTuneError: the engine does not answer.
    """
    opened = open_study(storage, study, read_only=True)
    match options:
        case RayOptions():
            jobs = ray_jobs.stop(opened.files, options)
        case SlurmOptions():
            jobs = slurm.cancel(opened.files)
        case KubernetesOptions():
            raise InputError(
                f"What kubectl has submitted is ended by kubectl; run: {kubernetes.how_to_stop(opened.files, options)}"
            )
    logger.info("Cancelled: %s." if jobs else "No job of study %s is there.", ", ".join(jobs) or opened.name)
    return "\n".join(jobs)


def _nothing_to_run(opened: OpenStudy) -> bool:
    opened.requeue_lost()  # nobody else may be there to see it, and workers of a cluster leave when nothing waits
    now = trial_counts(opened)
    if not now["waiting"] and not now["running"]:
        logger.info("Study %s: nothing is left to run; nothing was submitted.", opened.name)
        return True
    if read_steering(opened.storage, opened.study_id) is Steering.stopped:
        logger.info(
            "Study %s is stopped; nothing was submitted; %s.", opened.name, how_to_resume(opened.name)
        )
        return True
    return False
