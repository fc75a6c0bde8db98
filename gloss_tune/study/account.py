"""What is said of a study's data before it is made, and what no study is made of."""

from __future__ import annotations

from gloss_tune.data import TextDataset, check_folds, subsample_val
from gloss_tune.data.account import account, class_counts, doubts
from gloss_tune.data.dataset import quoted
from gloss_tune.errors import DataError
from gloss_tune.logging import logger
from gloss_tune.spec.spec import StudySpec
from gloss_tune.wording import count

MOST_HELD_OUT = 5_000
"""Validation documents of a held-out tenth that trials are judged by, unless the user says otherwise."""


def with_val_sample(spec: StudySpec, dataset: TextDataset) -> tuple[StudySpec, TextDataset]:
    """The specification and data with a held-out val of a sensible size, said aloud where it is not the whole.

    What the user gave as val stays whole.
    """
    if (
        spec.folds > 1
        or spec.max_val_docs is not None
        or not dataset.reading.held_out
        or len(dataset.val) <= MOST_HELD_OUT
    ):
        return spec, dataset
    logger.info(
        "Data set %s: of the %s documents held out of train, trials are judged by a stratified sample of %s, so that "
        "an epoch does not cost more than it must; --max-val-docs sets another number.",
        dataset.name,
        f"{len(dataset.val):,}",
        f"{MOST_HELD_OUT:,}",
    )
    sampled = subsample_val(dataset, MOST_HELD_OUT, spec.seed)
    return spec.model_copy(update={"max_val_docs": MOST_HELD_OUT}), sampled


def say_what_was_read(spec: StudySpec, dataset: TextDataset, whole_classes: int) -> None:
    """One line of what was read, and a warning for each thing that may be wrong with it.

    Args:
        spec: of the study.
        dataset: as its trials see it.
        whole_classes: classes with training documents before any sample was taken.

    Raises:
        DataError: val cannot choose between trials by this metric, or a class has too few documents for folds.
    """
    folds = f"; {check_folds(dataset, spec.folds, spec.max_train_docs)}" if spec.folds > 1 else ""
    logger.info("Data set %s: %s%s.", dataset.name, account(dataset), folds)
    for warning in [
        *dataset.warnings,
        *(doubts(dataset) if dataset.reading.own else ()),
        *_doubts_of_training(spec, dataset, whole_classes),
    ]:
        logger.warning("Data set %s: %s", dataset.name, warning)
    _check_val(spec, dataset)


def _doubts_of_training(spec: StudySpec, dataset: TextDataset, whole_classes: int) -> list[str]:
    found = []
    counts = class_counts(dataset, dataset.train)
    lost = [name for name, number in zip(dataset.classes, counts.tolist(), strict=True) if number == 0]
    if lost and whole_classes > len(dataset.classes) - len(lost):
        found.append(
            f"{count(len(lost), 'class', 'classes')} of {whole_classes} lost all training documents to "
            f"--max-train-docs {spec.max_train_docs}: {quoted(lost)}. Give at least {whole_classes}."
        )
    if counts.max() <= 1 and spec.loss != "ce":
        nothing = (
            "G-Loss is exactly 0"
            if spec.loss == "gloss"
            else f"the loss {spec.loss!r} has no pair to learn from"
        )
        found.append(
            f"No class has two training documents, so that {nothing}: its hyperparameters do nothing, and trials "
            "differ by the head's alone. Give more documents."
        )
    batch = spec.lowest("batch_size")
    if batch > len(dataset.train):
        found.append(
            f"Batches of {batch} are larger than the {len(dataset.train)} training documents: each epoch is one step "
            "of all of them. Set --batch-size lower."
        )
    return found


def _check_val(spec: StudySpec, dataset: TextDataset) -> None:
    present = [name for name, n in zip(dataset.classes, class_counts(dataset, dataset.val), strict=True) if n]
    if len(present) > 1:
        return
    said = (
        f"val of data set {dataset.name!r} has documents of one class only, {present[0]!r} "
        f"({count(len(dataset.val), 'document')}): a model that always says so has every score of 1"
    )
    if spec.rehearse or spec.metric == "val_accuracy":
        logger.warning("Data set %s: %s.", dataset.name, said)
        return
    raise DataError(
        f"Trials are compared by {spec.metric}, which needs two classes in val, but {said}. Add documents of the other "
        "classes, or give a val split that has them."
    )
