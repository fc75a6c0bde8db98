"""The K best models of a study, kept for use: a folder each that ``SentenceTransformer(folder)`` loads.

A worker writes a trial's model before it tells the result, so that a trial among the best is never without; what the
K best no longer need is removed by whichever worker comes next. A model belongs to one attempt of its trial, and the
attempt whose result counts prevails over those of workers that lost their lease.
"""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from gloss_tune.atomic import part_beside, whole_folder
from gloss_tune.finetune.model_folder import DESCRIPTION, write_model
from gloss_tune.logging import logger
from gloss_tune.queue.claims import Claim
from gloss_tune.storage.trial_states import best_complete, standings
from gloss_tune.study.objective import Ending
from gloss_tune.study.results import hyperparameters
from gloss_tune.study.study import OpenStudy
from gloss_tune.study.versions import current_versions
from gloss_tune.workers.artifacts.trial_files import MODELS, remove, trial_files

if TYPE_CHECKING:
    from gloss_tune.finetune.loop import Finetune


def keep_model(
    opened: OpenStudy,
    artifacts: Path,
    claimed: Claim,
    run: Finetune,
    ending: Ending,
    classes: Sequence[str],
) -> None:
    """Write the best epoch's model of a trial that is about to be told, if it is one of the study's K best.

    A model that cannot be written costs the model and not the trial: there is a warning, and nothing half-written.

    Args:
        artifacts: folder that all workers of the study reach.
        claimed: the trial, whose claim still holds as far as is known.
        run: its fine-tune; afterwards encoder and head hold the best epoch's weights.
        ending: how it ended.
        classes: C label names in the order of the head's outputs.
    """
    from safetensors import SafetensorError

    if not _is_among_the_best(opened, claimed, ending):
        return
    target = _folder(opened, artifacts, claimed.number)
    run.restore_best()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(target, f".attempt-{claimed.attempt}") as folder:
            description = _description(opened, claimed, run, ending, classes)
            write_model(folder, run.encoder, run.head, description)
            _make_room(target, claimed.attempt)
    except (OSError, RuntimeError, SafetensorError) as error:
        logger.warning("Trial %d: its model could not be kept (%s).", claimed.number, error)


def delete_model(opened: OpenStudy, artifacts: Path, claimed: Claim) -> None:
    """Remove what this attempt wrote: its lease was lost, and its result does not count."""
    target = _folder(opened, artifacts, claimed.number)
    if _attempt_in(target) == claimed.attempt:
        _remove_model(target, claimed.attempt)


def prune_models(opened: OpenStudy, artifacts: Path) -> None:
    """Remove the models of finished trials that are not among the K best, and what killed workers left unfinished.

    Any worker may call it at any time, also several at once. A trial that has not finished keeps its model: the
    worker that wrote it may be about to tell its result.
    """
    files = trial_files(artifacts / MODELS / opened.files)
    if not files:
        return
    # in this order: what is seen as complete here is in the list of the best below, or never will be
    now = standings(opened.storage, opened.study_id, {file.number for file in files})
    best = {number for number, _ in best_complete(opened.storage, opened.study_id, opened.spec.keep)}
    for file in files:
        standing = now.get(file.number)
        if standing is None:
            continue
        if file.is_part:
            if file.is_stale_part(standing):
                remove(file.path)
        elif standing.state.is_finished():
            attempt = _attempt_in(file.path)
            counts = file.number in best and attempt == standing.attempt
            if attempt is not None and not counts:
                _remove_model(file.path, attempt)


def _is_among_the_best(opened: OpenStudy, claimed: Claim, ending: Ending) -> bool:
    keep = opened.spec.keep
    if not keep or opened.spec.rehearse or ending.state != TrialState.COMPLETE or ending.value is None:
        return False
    best = best_complete(opened.storage, opened.study_id, keep)
    if len(best) < keep:
        return True
    number, value = best[-1]
    return (ending.value, -claimed.number) > (value, -number)


def _folder(opened: OpenStudy, artifacts: Path, number: int) -> Path:
    return artifacts / MODELS / opened.files / f"trial-{number}"


def _description(
    opened: OpenStudy, claimed: Claim, run: Finetune, ending: Ending, classes: Sequence[str]
) -> dict[str, Any]:
    spec = opened.spec
    assert run.best is not None
    metrics = run.best.metrics.items()
    return {
        "study": opened.name,
        "trial": claimed.number,
        "attempt": claimed.attempt,
        "loss": spec.loss,
        "mode": spec.mode,
        "params": hyperparameters(spec, {name: getattr(run.config, name) for name in spec.space}),
        "searched": sorted(spec.space),
        "seed": run.config.seed,
        "metric": spec.metric,
        "value": ending.value,
        "metrics": {name: value if math.isfinite(value) else None for name, value in metrics},
        "epoch": run.best.epoch,
        "dataset": dict(opened.dataset),
        "encoder": dict(opened.encoder),
        "classes": list(classes),
        "max_length": run.config.max_length,
        "precision": run.precision,
        "device": str(run.encoder.device),
        "versions": current_versions(),
    }


def _attempt_in(folder: Path) -> int | None:
    """Whose attempt a model is; 0 where that cannot be read, None where there is no folder."""
    try:
        return int(json.loads((folder / DESCRIPTION).read_bytes())["attempt"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0 if folder.is_dir() else None


def _make_room(target: Path, attempt: int) -> None:
    """Take away an earlier attempt's model.

    Raises:
        FileExistsError: a later attempt's is there, so this worker has lost its lease.
    """
    there = _attempt_in(target)
    if there is None:
        return
    if there > attempt:
        raise FileExistsError(errno.EEXIST, "a later attempt has written one")
    _remove_model(target, there)


def _remove_model(target: Path, attempt: int) -> None:
    """Remove one attempt's model, in one step for all who look."""
    aside = part_beside(target, f".attempt-{attempt}")
    try:
        target.rename(aside)
        if _attempt_in(aside) != attempt:  # a later attempt's had just taken its place
            aside.rename(target)
            return
    except FileNotFoundError:  # another worker was quicker
        return
    except OSError as error:
        logger.warning("%s cannot be removed (%s); remove it by hand.", target, error.strerror)
        return
    remove(aside)
