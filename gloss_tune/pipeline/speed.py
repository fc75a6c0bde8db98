"""How fast this machine trains a study's encoder on its data: a few steps, before anything is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gloss_tune.cores import CoreShare
from gloss_tune.data import TextDataset, check_folds
from gloss_tune.doctor.smoke import measure
from gloss_tune.finetune.device import pick_device
from gloss_tune.pipeline.plan import Sizes, Speed
from gloss_tune.spec.spec import StudySpec
from gloss_tune.study.encoder import study_encoder
from gloss_tune.study.inputs import study_dataset

NO_DATA = Sizes(1, 1, 0, 2)


def whole_dataset(spec: StudySpec, data_dir: Path | None) -> TextDataset | None:
    """All documents of a study's data set; None for a rehearsal, which needs none.

    Raises:
        InputError: the data set is wrong.
    """
    if spec.rehearse:
        return None
    whole = study_dataset(spec.model_copy(update={"max_train_docs": None}), data_dir)
    if spec.folds > 1:
        check_folds(whole, spec.folds)
    return whole


def measure_speed(
    spec: StudySpec, whole: TextDataset | None, device: str, threads: int | None
) -> tuple[Speed, Sizes]:
    """Train a few steps and validate a few documents, with the worker's own code.

    Args:
        spec: the study.
        whole: all its documents, see :func:`whole_dataset`.
        device: what the first worker computes on.
        threads: of a worker; None to share the cores.

    Returns:
        The speed, and the sizes of the whole data set. A rehearsal trains nothing.

    Raises:
        InputError: the encoder is wrong.
    """
    if whole is None:
        return Speed(1, 0.0, 0.0, fixed_seconds=spec.rehearse_seconds), NO_DATA
    import torch

    before = torch.get_num_threads()
    try:
        device = pick_device(device)
        CoreShare(device, threads).share_cores()
        found = measure(spec, whole, study_encoder(spec), device)
    finally:
        torch.set_num_threads(before)
    test = 0 if whole.test is None else len(whole.test)
    val = len(whole.val)
    if spec.folds > 1:
        val = -(-(len(whole.train) + val) // spec.folds)
    sizes = Sizes(len(whole.train) + len(whole.val) - val, val, test, len(whole.classes))
    speed = Speed(
        found.batch_size,
        found.step_seconds,
        found.document_seconds,
        None,
        spec.trainings,
        spec.train.seeds or 1,
    )
    return speed, sizes


def corrected(speed: Speed, factor: float) -> Speed:
    """The speed where everything took so many times as long as was foretold."""
    return replace(
        speed,
        step_seconds=speed.step_seconds * factor,
        document_seconds=speed.document_seconds * factor,
        fixed_seconds=None if speed.fixed_seconds is None else speed.fixed_seconds * factor,
    )
