"""Trackers are told of every trial, once, and cost no trial anything."""

from __future__ import annotations

import logging
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gloss_tune.errors import InputError, NonFiniteLossError
from gloss_tune.finetune.config import EpochReport
from gloss_tune.finetune.rehearsal import Rehearsal
from gloss_tune.signals import StopFlag
from gloss_tune.study.status import trials
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers import tracking as tracking_module
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.runs import RehearsalRuns
from gloss_tune.workers.tracking import TrackedTrial, TrialTracking, check_trackers
from gloss_tune.workers.worker import work
from tests.integration.studies import join, make

pytestmark = pytest.mark.prepared


def report(epoch: int, value: float = 0.5) -> EpochReport:
    return EpochReport(epoch, {"val_macro_f1": value, "train_loss": 1.0 / epoch}, True)


def tracked(folder: Path, number: int = 7) -> TrackedTrial:
    return TrackedTrial("mr", "mr.0", number, {"learning_rate": 1e-4, "normalization": "random_walk"}, folder)


def points(folder: Path, name: str) -> list[tuple[int, float]]:
    """What TensorBoard shows of a run: step and value."""
    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, pytest.approx(event.value)) for event in events.Scalars(name)]


class Recorder:
    """A tracker that remembers what it was told; fails where it is told to."""

    log: ClassVar[list[tuple[Any, ...]]] = []
    fail_at: ClassVar[tuple[str, ...]] = ()

    def __init__(self, trial: TrackedTrial, epoch: int) -> None:
        self.number = trial.number
        self._say("start", epoch)

    def _say(self, what: str, *more: Any) -> None:
        Recorder.log.append((self.number, what, *more))
        if what in Recorder.fail_at:
            raise ConnectionError("the server is away")

    def report(self, report: EpochReport) -> None:
        self._say("epoch", report.epoch)

    def end(self, state: str, value: float | None) -> None:
        self._say("end", state, value)

    def close(self) -> None:
        self._say("close")


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The tracker ``recorder``."""
    module = types.ModuleType("gloss_tune.workers.tracking.recorder_run")
    module.start = Recorder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(tracking_module.TRACKERS, "recorder", "json")
    Recorder.log, Recorder.fail_at = [], ()
    return Recorder.log


def finish(opened: OpenStudy, tmp_path: Path, make_run: type[Rehearsal] = Rehearsal, **options: Any) -> None:
    how = WorkerOptions(artifacts=tmp_path / "artifacts", **options)
    work(opened, how, StopFlag(), runs=RehearsalRuns(opened, make_run))


def test_every_trial_is_a_run_with_its_epochs_and_its_end(
    url: str, tmp_path: Path, recorded: list[tuple[Any, ...]]
) -> None:
    opened = make(url, trials=2, pruner="none", train={"epochs": 2, "patience": 2})
    finish(opened, tmp_path, track=check_trackers(["recorder"]))
    values = {row["number"]: row["value"] for row in trials(join(url))}
    assert recorded == [
        entry
        for number in (0, 1)
        for entry in (
            (number, "start", 1), (number, "epoch", 1), (number, "epoch", 2),
            (number, "end", "complete", values[number]), (number, "close"),
        )
    ]  # fmt: skip


@pytest.mark.parametrize("place", ["start", "epoch", "end", "close"])
def test_a_trackers_trouble_costs_the_tracker_and_not_the_trial(
    url: str, tmp_path: Path, recorded: list[tuple[Any, ...]], place: str, caplog: pytest.LogCaptureFixture
) -> None:
    Recorder.fail_at = (place,)
    opened = make(url, trials=2, pruner="none", train={"epochs": 2, "patience": 2})
    with caplog.at_level(logging.WARNING):
        finish(opened, tmp_path, track=("recorder",))
    assert [row["state"] for row in trials(join(url))] == ["complete", "complete"]
    complaints = [text for text in caplog.messages if "recorder is left out" in text]
    assert len(complaints) == 2  # one a trial
    assert "the server is away" in complaints[0]


def test_a_failed_trial_says_so(url: str, tmp_path: Path, recorded: list[tuple[Any, ...]]) -> None:
    class Broken(Rehearsal):
        def epochs(self) -> Iterator[EpochReport]:
            raise NonFiniteLossError("loss is nan")
            yield

    finish(make(url, trials=1), tmp_path, Broken, track=("recorder",))
    assert recorded == [(0, "start", 1), (0, "end", "fail", None), (0, "close")]


def test_a_resumed_trial_goes_on_in_its_own_run(
    url: str, tmp_path: Path, recorded: list[tuple[Any, ...]]
) -> None:
    class Interrupting(Rehearsal):
        """Its worker is told to stop in the second epoch, which it finishes and keeps."""

        def epochs(self) -> Iterator[EpochReport]:
            for found in super().epochs():
                if found.epoch == 2 and not stop.signum:
                    stop.set(15)
                yield found

    stop = StopFlag()
    opened = make(url, trials=1, pruner="none", train={"epochs": 4, "patience": 4}, rehearse_seconds=0.0)
    options = WorkerOptions(artifacts=tmp_path / "artifacts", track=("recorder",), grace=30.0)
    work(opened, options, stop, runs=RehearsalRuns(opened, Interrupting))
    finish(join(url), tmp_path, track=("recorder",))
    epochs = [entry[2] for entry in recorded if entry[1] == "epoch"]
    starts = [entry[2] for entry in recorded if entry[1] == "start"]
    assert starts == [1, 3]
    assert epochs == sorted(set(epochs)) == [1, 2, 3, 4]
    assert [entry[2] for entry in recorded if entry[1] == "end"] == ["complete"]


def test_without_a_tracker_nothing_is_imported(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        tracking_module.importlib, "import_module", lambda name: pytest.fail(f"imported {name}")
    )
    finish(make(url, trials=1), tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["neptune"], "must be one of tensorboard"),
        (["tensorboard,absent"], "pip install 'gloss-tune"),
        (["x,"], "one of"),
    ],
)
def test_an_unknown_or_missing_tracker_is_refused(
    names: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tracking_module.TRACKERS, "absent", "a_package_that_nobody_has")
    with pytest.raises(InputError, match=message):
        check_trackers(names)
    assert check_trackers(["tensorboard, tensorboard", ""]) == ("tensorboard",)


# ── TensorBoard ──


def test_tensorboard_reads_back_what_was_written(tmp_path: Path) -> None:
    run = TrialTracking(("tensorboard",), tracked(tmp_path))
    for epoch in (1, 2, 3):
        run.report(report(epoch, 0.5 + epoch / 10))
    run.end("complete", 0.8)
    run.close()
    folder = tmp_path / "tensorboard" / "mr.0" / "trial-0007"
    assert points(folder, "val_macro_f1") == [(1, 0.6), (2, 0.7), (3, 0.8)]
    assert points(folder, "value") == [(0, 0.8)]
    plugin = EventAccumulator(str(folder)).Reload().SummaryMetadata("_hparams_/session_start_info")
    assert b"learning_rate" in plugin.plugin_data.content
    assert not [path for path in folder.iterdir() if path.is_dir()]  # add_hparams would have made another run


def test_tensorboard_shows_no_point_twice_after_a_resume(tmp_path: Path) -> None:
    lost = TrialTracking(("tensorboard",), tracked(tmp_path))
    for epoch in (1, 2, 3):
        lost.report(report(epoch, 0.1))
    lost.close()
    again = TrialTracking(("tensorboard",), tracked(tmp_path))
    for epoch in (3, 4):  # its last checkpoint was after epoch 2
        again.report(report(epoch, 0.9))
    again.close()
    folder = tmp_path / "tensorboard" / "mr.0" / "trial-0007"
    assert points(folder, "val_macro_f1") == [(1, 0.1), (2, 0.1), (3, 0.9), (4, 0.9)]


def test_a_study_tells_tensorboard_its_hyperparameters(url: str, tmp_path: Path) -> None:
    opened = make(url, trials=1, pruner="none", train={"epochs": 1})
    finish(opened, tmp_path, track=("tensorboard",))
    (folder,) = (tmp_path / "artifacts" / "tracking" / "tensorboard").glob("*/trial-0000")
    (row,) = trials(join(url))
    assert points(folder, "val_macro_f1") == [(1, row["value"])]
    content = EventAccumulator(str(folder)).Reload().SummaryMetadata("_hparams_/session_start_info")
    for name in (*row["params"], "dataset", "loss", "state"):
        assert name.encode() in content.plugin_data.content
