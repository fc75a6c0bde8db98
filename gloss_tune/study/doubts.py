"""What speaks against a study's best value, however high it is: a model that answers one class, trials all alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from gloss_tune.storage.trial_states import Brief
from gloss_tune.study.results import best_of, whole_trial
from gloss_tune.study.study import OpenStudy
from gloss_tune.wording import count

# fewer equal values may be chance on few validation documents
_MANY_ALIKE = 4


def history_doubts(opened: OpenStudy, history: Sequence[Brief]) -> list[str]:
    """:func:`doubts` of a study whose history is read already."""
    values = [brief.value for brief in history if brief.state == TrialState.COMPLETE]
    return doubts(opened, whole_trial(opened, best_of(history)), values)


def doubts(opened: OpenStudy, best: FrozenTrial | None, values: Sequence[float | None]) -> list[str]:
    """What a user should know before the best trial's parameters are used, a sentence each; mostly none.

    Args:
        opened: the study; a rehearsal, whose results mean nothing anyway, has no doubts.
        best: its best trial; None while there is none.
        values: of all complete trials.
    """
    if opened.spec.rehearse or best is None:
        return []
    found = []
    if answers_one_class(best, int(opened.dataset["n_classes"])):
        found.append(
            f"The model of trial {best.number}, the best, answers the same class for every validation document "
            f"(val_accuracy {best.user_attrs['metrics']['val_accuracy']:.4f}): it has learned nothing. Rare classes "
            "count as much as frequent ones with '--class-weights balanced'; more documents, more epochs or "
            "'--set train.folds=5' may help too."
        )
    if len(values) >= _MANY_ALIKE and len(set(values)) == 1:
        found.append(
            f"All {count(len(values), 'complete trial')} have the same {opened.spec.metric} ({best.value:.4f}): the "
            "validation documents do not tell them apart, and the best is only the first."
        )
    return found


def answers_one_class(trial: FrozenTrial, classes: int) -> bool:
    """Whether a trial's model predicts one and the same class for all of two classes or more.

    Then Matthews' correlation is 0 and balanced accuracy one over the number of classes that occur in validation.

    Args:
        trial: a complete one.
        classes: of the data set.
    """
    metrics = trial.user_attrs.get("metrics", {})
    mcc, balanced = metrics.get("val_mcc"), metrics.get("val_balanced_accuracy")
    if mcc != 0 or not balanced:
        return False
    occurring = 1 / balanced
    return math.isclose(occurring, round(occurring), rel_tol=1e-9) and 2 <= round(occurring) <= classes
