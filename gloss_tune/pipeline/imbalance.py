"""Classes of very different sizes, which a run to a model lets count alike where its metric does."""

from __future__ import annotations

from gloss_tune.data import TextDataset
from gloss_tune.data.account import class_counts
from gloss_tune.logging import logger
from gloss_tune.spec.spec import StudySpec

# documents of the largest class for one of the smallest
_UNEQUAL = 10
_COUNTING_CLASSES_ALIKE = ("val_macro_f1", "val_balanced_accuracy", "val_mcc")


def weighs(spec: StudySpec) -> bool:
    """Whether a study's metric counts classes alike, so that their sizes matter to :func:`balanced`."""
    return spec.metric in _COUNTING_CLASSES_ALIKE


def balanced(spec: StudySpec, dataset: TextDataset) -> dict[str, str]:
    """The class weights that a run chooses where the user has not; says so.

    Args:
        spec: the study.
        dataset: with all its documents.

    Returns:
        The fields of ``train`` that follow from it: none where classes are of similar size, or where the metric counts
        documents.
    """
    if not weighs(spec):
        return {}
    counts = class_counts(dataset, dataset.train)
    ratio = counts.max() / counts.min()
    if ratio < _UNEQUAL:
        return {}
    logger.info(
        "The largest class has %.0f times as many documents as the smallest, and %s counts them alike: so documents of "
        "rare classes count for more ('--class-weights none' leaves that).",
        ratio,
        spec.metric,
    )
    return {"class_weights": "balanced"}
