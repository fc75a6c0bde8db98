"""What speaks against a best value is said wherever it is given."""

from __future__ import annotations

from dataclasses import replace

import pytest
from optuna.trial import TrialState

from gloss_tune.confirm.export import export
from gloss_tune.pipeline.story import gain
from gloss_tune.report.document import Pictures, report_text
from gloss_tune.report.facts import gather
from gloss_tune.study.doubts import history_doubts
from gloss_tune.study.results import read_history
from gloss_tune.study.study import OpenStudy
from tests.integration.studies import make
from tests.integration.test_status import end

pytestmark = pytest.mark.prepared


def doubts(opened: OpenStudy) -> list[str]:
    return history_doubts(opened, read_history(opened))


ONE_CLASS = {"val_accuracy": 0.97, "val_mcc": 0.0, "val_balanced_accuracy": 0.5}
LEARNED = {"val_accuracy": 0.97, "val_mcc": 0.4, "val_balanced_accuracy": 0.7}


@pytest.fixture
def study(url: str) -> OpenStudy:
    """Trials are entered by hand as a real study's: a rehearsal has no doubts."""
    opened = make(url, trials=8)
    spec = opened.spec.model_copy(update={"rehearse": False})
    return replace(opened, spec=spec, dataset={**opened.dataset, "n_classes": 2})


def test_a_best_model_that_answers_one_class_is_told(
    study: OpenStudy, caplog: pytest.LogCaptureFixture
) -> None:
    end(study, TrialState.COMPLETE, 0.49, **ONE_CLASS)
    end(study, TrialState.COMPLETE, 0.3, **LEARNED)
    (said,) = doubts(study)
    assert "trial 0" in said
    assert "--class-weights balanced" in said
    assert gain(study) == said
    export(study)
    assert caplog.text.count("answers the same class") == 1
    caplog.clear()
    export(study, quiet=True)
    export(study, 1)  # asked for by its number: its owner's own choice
    assert not caplog.text
    assert list(gather(study).doubts) == [said]


@pytest.mark.parametrize(
    "metrics",
    [
        LEARNED,
        {**ONE_CLASS, "val_balanced_accuracy": 0.55},  # no correlation, yet both classes answered
        {**ONE_CLASS, "val_balanced_accuracy": 1 / 7},  # more classes than there are
        {"val_accuracy": 0.97},  # of an older release
    ],
)
def test_a_model_that_answers_several_classes_is_not_doubted(
    study: OpenStudy, metrics: dict[str, float]
) -> None:
    end(study, TrialState.COMPLETE, 0.49, **metrics)
    end(study, TrialState.PRUNED, 0.4, **ONE_CLASS)
    assert doubts(study) == []


def test_equal_values_of_many_trials_are_told(study: OpenStudy) -> None:
    for _ in range(3):
        end(study, TrialState.COMPLETE, 0.8, **LEARNED)
    assert doubts(study) == []  # three may be chance
    end(study, TrialState.PRUNED, 0.1, **LEARNED)
    end(study, TrialState.COMPLETE, 0.8, **LEARNED)
    (said,) = doubts(study)
    assert "All 4 complete trials have the same val_macro_f1 (0.8000)" in said
    end(study, TrialState.COMPLETE, 0.81, **LEARNED)
    assert doubts(study) == []


def test_the_report_tells_doubts_where_it_names_the_best(study: OpenStudy) -> None:
    end(study, TrialState.COMPLETE, 0.49, **ONE_CLASS)
    text = report_text(gather(study), Pictures())
    assert text.index("The best is trial 0") < text.index("answers the same class") < text.index("## ")
