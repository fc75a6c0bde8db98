"""A study that was paused or stopped, as readers, copies and workers in this process see it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gloss_tune.catalog.changes import copy_study
from gloss_tune.doctor.study import check_study
from gloss_tune.finetune.config import FinetuneConfig
from gloss_tune.finetune.rehearsal import Rehearsal
from gloss_tune.finetune.run import FinetuneRun
from gloss_tune.queue.steering import Steering, read_steering, steer
from gloss_tune.signals import LEAVE, StopFlag
from gloss_tune.spec.build import build_spec
from gloss_tune.study.create import create
from gloss_tune.study.status import status, why_none_begins
from gloss_tune.study.status import trials as read_trials
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.runs import RealRuns, RehearsalRuns
from gloss_tune.workers.worker import work
from tests.integration.studies import join, make, trial_of
from tests.unit.finetune.tiny import write_encoder

pytestmark = [pytest.mark.timeout(60), pytest.mark.prepared]


@pytest.mark.parametrize("steering", Steering)
def test_readers_say_why_no_trial_begins(url: str, steering: Steering) -> None:
    opened = make(url)
    assert status(opened)["steering"] is None
    assert why_none_begins(opened) is None
    assert check_study(url, "study", True).state == "ok"
    steer(opened.storage, opened.study_id, steering)
    now = status(opened)
    assert (now["steering"], now["state"], now["stopped"]) == (steering.value, "waiting", None)
    line = check_study(url, "study", True)
    assert line.state == "warning"
    assert f"the study is {steering.value}; 'gloss-tune resume --study study'" in str(line.advice)


def test_a_copy_of_a_stopped_study_is_not_stopped(url: str) -> None:
    opened = make(url)
    steer(opened.storage, opened.study_id, Steering.stopped)
    copy_study(url, "study", "twin")
    twin = join(url, "twin")
    assert read_steering(twin.storage, twin.study_id) is None


def test_a_worker_of_a_stopped_study_loads_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = make(url)
    steer(opened.storage, opened.study_id, Steering.stopped)
    monkeypatch.setattr("gloss_tune.workers.worker.runs_of", lambda *_: pytest.fail("loaded"))
    worked = work(opened, WorkerOptions(), StopFlag())
    assert (worked.trials, worked.exit_code) == (0, 0)
    assert "study study is stopped, 4 trials waiting" in worked.why


def test_a_trial_is_handed_back_more_often_than_it_may_lose_its_worker(url: str, tmp_path: Path) -> None:
    """After every epoch: none is repeated, none is lost, and the result is that of the uninterrupted trial."""
    opened = make(url, trials=1, pruner="none", max_attempts=1, train={"epochs": 5, "patience": 5})
    options = WorkerOptions(artifacts=tmp_path / "artifacts")
    ran: list[int] = []
    codes = []
    for _ in range(5):
        stop = StopFlag()

        class Asked(Rehearsal):
            def epochs(self):
                for report in super().epochs():
                    ran.append(report.epoch)
                    stop.set(LEAVE)  # noqa: B023
                    yield report

        codes.append(work(join(url), options, stop, runs=RehearsalRuns(opened, Asked)).exit_code)
    (row,) = read_trials(opened)
    assert ran == [1, 2, 3, 4, 5]
    assert codes == [75, 75, 75, 75, 0]
    assert (row["state"], row["epochs"], row["attempts"]) == ("complete", 5, 5)
    assert "lost_workers" not in trial_of(opened, 0).user_attrs
    whole = Rehearsal(opened.spec.config(row["params"]))
    list(whole.epochs())
    assert whole.best is not None
    assert row["value"] == whole.best.metrics["val_macro_f1"]


def test_a_real_trial_goes_on_to_the_last_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOSS_TUNE_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "words"
    data.mkdir()
    for split, documents in (("train", 40), ("val", 12)):
        rows = [
            f"{'ab'[i % 2]}{i % 6} c{i % 5} d{i % 6} e{i % 4} f{i // 6},{'ab'[i % 2]}"
            for i in range(documents)
        ]
        (data / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    spec = build_spec(
        {
            "dataset": str(data), "model": str(write_encoder(tmp_path / "encoder")), "trials": 1, "max_attempts": 1,
            "train": {"batch_size": 8, "max_length": 16, "epochs": 3, "patience": 3},
        }
    )  # fmt: skip
    options = WorkerOptions(device="cpu", threads=1, artifacts=tmp_path / "artifacts")

    class Asked(RealRuns):
        """The notice comes during the first step of each attempt."""

        stop: StopFlag

        def run(self, config: FinetuneConfig, on_step: Callable[[], None], *rest: Any) -> FinetuneRun:
            def then_asked() -> None:
                on_step()
                self.stop.set(LEAVE)

            return super().run(config, then_asked, *rest)

    found, codes = [], []
    for name, runs_type, attempts in (("whole", RealRuns, 1), ("handed-back", Asked, 3)):
        opened = create(spec, f"sqlite:///{tmp_path}/{name}.db", name).study
        for _ in range(attempts):
            runs, stop = runs_type(opened, options), StopFlag()
            runs.stop = stop
            codes.append(work(opened, options, stop, runs=runs).exit_code)
        (row,) = read_trials(opened)
        speeds = (
            "train_docs_per_second",
            "train_tokens_per_second",
            "train_seconds",
            "eval_seconds",
            "peak_memory_mb",
        )
        metrics = {key: value for key, value in row["metrics"].items() if key not in speeds}
        found.append((row["state"], row["value"], row["epochs"], metrics))
        assert row["attempts"] == attempts
    assert codes == [0, 75, 75, 0]
    assert found[0] == found[1]
