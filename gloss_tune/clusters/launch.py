"""``launch --on``: one study's workers, asked of a cluster, which starts, places, replaces and ends them."""

from __future__ import annotations

from pathlib import Path

from gloss_tune.clusters import slurm
from gloss_tune.clusters.order import Wish, place_order
from gloss_tune.clusters.slurm_script import SlurmOptions
from gloss_tune.logging import logger
from gloss_tune.queue.steering import Steering, how_to_resume, read_steering
from gloss_tune.study.status import trial_counts
from gloss_tune.study.study import OpenStudy, open_study


def launch_on(
    storage: str, study: str | None, wish: Wish, options: SlurmOptions, *, dry_run: bool = False
) -> str:
    """Ask Slurm for a study's workers.

    Args:
        storage: the study's database, as given.
        study: its name; may be None where the storage holds one.
        wish: the workers.
        options: Slurm's own.
        dry_run: give what would be submitted instead.

    Returns:
        What belongs on stdout: the job's id, or the text; empty if nothing is left to run.

    Raises:
        InputError: something is not fit for many machines; nothing was submitted.
        GlossTuneError: Slurm refuses.
    """
    opened = open_study(storage, study)
    order = place_order(opened, storage, wish, "Slurm", str(Path("gloss-tune-artifacts").absolute()))
    if not dry_run and _nothing_to_run(opened):
        return ""
    text = slurm.prepare(order, options, storage)
    return text if dry_run else slurm.submit(order, text)


def stop_on(storage: str, study: str | None) -> str:
    """Cancel what was submitted to Slurm for a study; returns the jobs' ids, one a line.

    Raises:
        InputError: Slurm's commands are not here.
    """
    opened = open_study(storage, study, read_only=True)
    jobs = slurm.cancel(opened.files)
    logger.info("Cancelled: %s." if jobs else "No job of study %s is there.", ", ".join(jobs) or opened.name)
    return "\n".join(jobs)


def _nothing_to_run(opened: OpenStudy) -> bool:
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
