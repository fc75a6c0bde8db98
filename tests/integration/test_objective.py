"""The bridge between a trial and a fine-tune: what is reported, pruned, and told."""

from __future__ import annotations

import math
from typing import Any

import pytest
from optuna.trial import TrialState

from gloss_tune.errors import DeviceMemoryError, Interrupted, LeaseLostError, NonFiniteLossError
from gloss_tune.finetune.config import EpochReport
from gloss_tune.queue.claims import claim, release
from gloss_tune.study.objective import Ending, ask, run_trial, tell
from gloss_tune.study.status import trials as read_trials
from gloss_tune.study.study import OpenStudy
from tests.integration.studies import ScriptedRun, age, expire, join, make, trial_of

pytestmark = pytest.mark.prepared

NAN = math.nan


def run(opened: OpenStudy, script: ScriptedRun, **hooks: Any) -> tuple[int, Ending]:
    """Claim the next trial and run it as a worker does, with a scripted fine-tune."""
    claimed = claim(opened.storage, opened.study_id, "w")
    assert claimed is not None
    trial, params = ask(opened, claimed)
    seen: list[EpochReport] = []
    ending = run_trial(opened, trial, params, lambda config: script, hooks.get("on_epoch", seen.append))
    tell(opened, trial, claimed, ending, 1.5, {"device": "cpu"})
    return claimed.number, ending


def test_a_complete_trial_holds_its_best_epoch(storage_url: str) -> None:
    opened = make(storage_url)
    number, ending = run(opened, ScriptedRun(0.5, 0.8, 0.7))
    assert ending.state == TrialState.COMPLETE
    done = trial_of(opened, number)
    assert (done.state, done.value) == (TrialState.COMPLETE, 0.8)
    assert done.intermediate_values == {1: 0.5, 2: 0.8, 3: 0.7}
    assert done.user_attrs["best_epoch"] == 2
    assert done.user_attrs["epochs"] == 3
    assert done.user_attrs["seconds"] == 1.5
    assert done.user_attrs["metrics"]["val_macro_f1"] == 0.8
    assert "error" not in done.user_attrs


def test_the_studys_own_metric_decides(url: str) -> None:
    opened = make(url, metric="val_silhouette")
    number, ending = run(opened, ScriptedRun(-0.5, -0.2, metric="val_silhouette"))
    assert ending.value == -0.2
    assert trial_of(opened, number).intermediate_values == {1: -0.5, 2: -0.2}


def test_a_trial_is_configured_with_what_it_drew(url: str) -> None:
    opened = make(url, seed=5, train={"epochs": 4})
    claimed = claim(opened.storage, opened.study_id, "w")
    assert claimed is not None
    trial, params = ask(opened, claimed)
    configs: list[Any] = []

    def start(config: Any) -> ScriptedRun:
        configs.append(config)
        return ScriptedRun(0.5)

    run_trial(opened, trial, params, start, lambda report: None)
    (config,) = configs
    config.validate()
    assert (config.seed, config.epochs, config.loss) == (5, 4, "gloss")
    assert {name: getattr(config, name) for name in params} == params == trial_of(opened, 0).params


def test_a_poor_trial_is_pruned_at_once_and_its_run_is_closed(storage_url: str) -> None:
    opened = make(storage_url, trials=7, train={"epochs": 3})
    for good in (0.80, 0.81, 0.82, 0.83, 0.84):
        run(opened, ScriptedRun(good - 0.1, good, good))
    poor = ScriptedRun(0.10, 0.11, 0.12)
    number, ending = run(opened, poor)
    assert ending.state == TrialState.PRUNED
    assert (poor.reached, poor.closed) == (1, True)
    pruned = trial_of(opened, number)
    assert pruned.state == TrialState.PRUNED
    assert pruned.value == 0.10
    assert pruned.user_attrs["epochs"] == 1
    assert pruned.user_attrs["metrics"]["val_macro_f1"] == 0.10
    number, ending = run(opened, ScriptedRun(0.79, 0.85, 0.9))
    assert ending.state == TrialState.COMPLETE
    assert trial_of(opened, number).value == 0.9


@pytest.mark.parametrize("train", [{"epochs": 3}, {"epochs": 9, "patience": 1}])
def test_after_its_last_epoch_no_trial_is_pruned(url: str, train: dict[str, int]) -> None:
    """Nothing would be saved, and a pruned trial is neither exported nor confirmed."""
    opened = make(url, trials=6, train=train)
    for good in (0.80, 0.81, 0.82, 0.83, 0.84):
        run(opened, ScriptedRun(0.1, 0.2, good))
    scores = (0.5, 0.5, 0.1) if train["epochs"] == 3 else (0.3, 0.29)
    number, ending = run(opened, ScriptedRun(*scores))
    assert ending.state == TrialState.COMPLETE
    assert trial_of(opened, number).value == max(scores)


def test_without_a_pruner_no_trial_is_cut_short(url: str) -> None:
    opened = make(url, trials=6, pruner="none")
    for good in (0.80, 0.81, 0.82, 0.83, 0.84):
        run(opened, ScriptedRun(good, good))
    assert run(opened, ScriptedRun(0.1, 0.1, 0.1))[1].state == TrialState.COMPLETE


@pytest.mark.parametrize(
    "error", [NonFiniteLossError("step 3: loss is nan"), DeviceMemoryError("used 80 GB")]
)
@pytest.mark.parametrize("epochs_before", [0, 2])
def test_an_expected_failure_fails_with_its_reason(url: str, error: Exception, epochs_before: int) -> None:
    opened = make(url)
    script = ScriptedRun(*[0.5] * epochs_before, error)
    number, ending = run(opened, script)
    assert (ending.state, ending.unexpected) == (TrialState.FAIL, False)
    assert script.closed
    failed = trial_of(opened, number)
    assert (failed.state, failed.value) == (TrialState.FAIL, None)
    assert failed.user_attrs["error"] == f"{type(error).__name__}: {error}"
    assert failed.user_attrs["epochs"] == epochs_before
    (row, *_) = read_trials(opened)
    assert (row["state"], row["error"]) == ("fail", failed.user_attrs["error"])


def test_a_bug_fails_the_trial_and_shows_its_traceback(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    opened = make(url)
    number, ending = run(opened, ScriptedRun(0.5, ZeroDivisionError("by zero")))
    assert (ending.state, ending.unexpected) == (TrialState.FAIL, True)
    assert "ZeroDivisionError" in trial_of(opened, number).user_attrs["error"]
    captured = capsys.readouterr()
    assert "Traceback" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("script", [(NAN,), (NAN, NAN, NAN), (math.inf,), (-math.inf,)])
def test_a_metric_that_is_no_number_fails_the_trial(storage_url: str, script: tuple[float, ...]) -> None:
    opened = make(storage_url)
    number, ending = run(opened, ScriptedRun(*script))
    assert ending.state == TrialState.FAIL
    failed = trial_of(opened, number)
    assert failed.state == TrialState.FAIL
    assert "val_macro_f1" in failed.user_attrs["error"]


def test_one_epoch_without_a_number_does_not_spoil_the_others(url: str) -> None:
    class Patient(ScriptedRun):
        """A later number replaces not-a-number, as in early stopping."""

        def epochs(self) -> Any:
            for report in super().epochs():
                if math.isnan(self.best.metrics["val_macro_f1"]):  # type: ignore[union-attr]
                    self.best = None
                yield report

    opened = make(url, pruner="none")
    number, ending = run(opened, Patient(NAN, 0.6, 0.5))
    assert (ending.state, ending.value) == (TrialState.COMPLETE, 0.6)
    assert trial_of(opened, number).value == 0.6


def test_a_study_of_failures_has_no_best_and_says_so(url: str) -> None:
    from gloss_tune.confirm.export import exported_trial as export
    from gloss_tune.errors import GlossTuneError
    from gloss_tune.study.status import status

    opened = make(url, trials=2)
    for _ in range(2):
        run(opened, ScriptedRun(NonFiniteLossError("nan")))
    assert status(opened)["best"] is None
    assert status(opened)["state"] == "finished"
    with pytest.raises(GlossTuneError, match="2 failed"):
        export(opened)


def test_an_interruption_ends_nothing(url: str) -> None:
    opened = make(url)
    claimed = claim(opened.storage, opened.study_id, "w")
    assert claimed is not None
    trial, params = ask(opened, claimed)
    script = ScriptedRun(0.5, Interrupted("signal 15"), 0.6)
    with pytest.raises(Interrupted):
        run_trial(opened, trial, params, lambda config: script, lambda report: None)
    assert script.closed
    assert trial_of(opened, 0).state == TrialState.RUNNING
    assert release(opened.storage, claimed)
    assert trial_of(opened, 0).intermediate_values == {1: 0.5}


def test_a_lease_lost_between_two_epochs_stops_the_run(storage_url: str) -> None:
    opened, other = make(storage_url), join(storage_url)
    claimed = claim(opened.storage, opened.study_id, "sleeper")
    assert claimed is not None
    trial, params = ask(opened, claimed)

    def oversleep(report: EpochReport) -> None:
        if report.epoch == 1:
            age(other, 0, 100)
            assert expire(other.storage, other.study_id, 30, 10) == [0]

    script = ScriptedRun(0.5, 0.6, 0.7)
    with pytest.raises(LeaseLostError):
        run_trial(opened, trial, params, lambda config: script, oversleep)
    assert (script.reached, script.closed) == (2, True)
    assert trial_of(opened, 0).intermediate_values == {1: 0.5}


def test_a_trial_that_starts_over_reports_and_tells_as_if_nothing_had_been(url: str) -> None:
    """The requeued trial's earlier reports stay; the same reports again are no error and no warning."""
    opened, other = make(url, trials=1), join(url)
    claimed = claim(opened.storage, opened.study_id, "w")
    assert claimed is not None
    trial, params = ask(opened, claimed)
    with pytest.raises(Interrupted):
        run_trial(
            opened, trial, params, lambda c: ScriptedRun(0.5, 0.6, Interrupted("x")), lambda report: None
        )
    release(opened.storage, claimed)
    number, ending = run(other, ScriptedRun(0.5, 0.6, 0.9))
    assert ending.state == TrialState.COMPLETE
    done = trial_of(other, number)
    assert (done.value, done.intermediate_values) == (0.9, {1: 0.5, 2: 0.6, 3: 0.9})
    assert done.user_attrs["epochs"] == 3


def test_a_trial_that_starts_over_is_judged_by_where_it_is(url: str) -> None:
    """Its first life reported three epochs; the pruner must not read epoch 3 when the second life is at epoch 1."""
    opened = make(url, trials=6, train={"epochs": 4})
    claimed = claim(opened.storage, opened.study_id, "first life")
    assert claimed is not None
    trial, params = ask(opened, claimed)
    with pytest.raises(Interrupted):
        run_trial(
            opened, trial, params, lambda c: ScriptedRun(0.5, 0.6, 0.1, Interrupted("x")), lambda report: None
        )
    # five others complete; at epoch 1 they are worse than this trial, at epoch 3 better
    for good in (0.81, 0.82, 0.83, 0.84, 0.85):
        run(opened, ScriptedRun(0.3, 0.4, good))
    release(opened.storage, claimed)
    script = ScriptedRun(0.5, 0.6, 0.1, 0.9)
    _, ending = run(opened, script)
    # the uninterrupted trial would be at epoch 3 when it is pruned (its best then is 0.6, the median best 0.83)
    assert ending.state == TrialState.PRUNED
    assert script.reached == 3
