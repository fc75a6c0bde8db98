"""A trial's way back, between attempts and between workers."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import TrialState

from gloss_tune.errors import InputError
from gloss_tune.finetune.config import EpochReport, FinetuneConfig
from gloss_tune.finetune.rehearsal import Rehearsal
from gloss_tune.queue.budget import create_study
from gloss_tune.queue.claims import Claim, claim, release
from gloss_tune.signals import StopFlag
from gloss_tune.study.objective import Ending, ask, run_trial, tell
from gloss_tune.study.status import trials as read_trials
from gloss_tune.study.study import open_study
from gloss_tune.workers.artifacts import checkpoints as checkpoints_module
from gloss_tune.workers.artifacts.checkpoints import SavingCost, TrialCheckpoint, prune_checkpoints
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.runs import RehearsalRuns
from gloss_tune.workers.worker import work
from tests.disks import no_file_larger_than
from tests.integration.studies import FILES, METRICS, age, expire, join, make, trial_of

CONFIG = FinetuneConfig(epochs=6, patience=6)


@pytest.fixture(autouse=True)
def every_epoch_is_worth_keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints_module, "_SHORTEST_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints_module, "_WORK_PER_SAVING", 0.0)


def attempt(folder: Path, number: int) -> TrialCheckpoint:
    return TrialCheckpoint(folder, FILES, Claim(1, 0, number))


def run_for(epochs: int, checkpoint: TrialCheckpoint) -> list[EpochReport]:
    """Resume, run some more epochs, keep each."""
    run, reports = checkpoint.resume(lambda: Rehearsal(CONFIG))
    for report, _ in zip(run.epochs(), range(epochs), strict=False):
        reports.append(report)
        checkpoint.keep(run, reports)
    return reports


def test_another_attempt_goes_on_where_the_first_stood(tmp_path: Path) -> None:
    whole = list(Rehearsal(CONFIG).epochs())
    assert run_for(2, attempt(tmp_path, 1)) == whole[:2]
    assert run_for(2, attempt(tmp_path, 2)) == whole[:4]
    assert run_for(9, attempt(tmp_path, 3)) == whole


def test_one_file_at_most_is_kept_and_none_after_the_end(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        checkpoint = attempt(tmp_path, number)
        run_for(1, checkpoint)
        assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 1
    checkpoint.delete()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_what_repeating_costs_little_is_written_only_before_leaving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints_module, "_SHORTEST_SECONDS", 1000.0)
    leaving: list[int] = []
    checkpoint = TrialCheckpoint(tmp_path, FILES, Claim(1, 0, 1), urgent=lambda: bool(leaving))
    run_for(2, checkpoint)
    assert there(tmp_path) == []
    leaving.append(15)
    run_for(2, checkpoint)
    assert there(tmp_path) == ["trial-0.attempt-1.ckpt"]


def test_a_trial_that_ends_leaves_no_checkpoint_unless_its_worker_must_go(tmp_path: Path) -> None:
    run, reports = Rehearsal(CONFIG), []
    reports.append(next(run.epochs()))
    leaving: list[int] = []
    checkpoint = TrialCheckpoint(tmp_path, FILES, Claim(1, 0, 1), urgent=lambda: bool(leaving))
    checkpoint.keep(run, reports, last=True)
    assert there(tmp_path) == []
    leaving.append(15)
    checkpoint.keep(run, reports, last=True)
    assert there(tmp_path) == ["trial-0.attempt-1.ckpt"]


def test_a_worker_writes_none_during_its_trials_last_epoch(tmp_path: Path) -> None:
    kept: list[tuple[int, bool]] = []

    class Watching(TrialCheckpoint):
        def keep(self, run: Any, reports: Any, *, last: bool = False) -> None:
            kept.append((reports[-1].epoch, last))

    opened = make(f"sqlite:///{tmp_path}/study.db", trials=1)
    claimed = claim(opened.storage, opened.study_id, "worker")
    assert claimed is not None
    trial, params = ask(opened, claimed)
    checkpoint = Watching(tmp_path, opened.files, claimed)
    ending = run_trial(opened, trial, params, Rehearsal, lambda report: None, checkpoint)
    epochs = len(ending.reports)
    assert epochs > 1
    assert kept == [(epoch, epoch == epochs) for epoch in range(1, epochs + 1)]


def test_what_a_checkpoint_costs_is_known_to_the_next_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints_module, "_WORK_PER_SAVING", 20.0)
    cost = SavingCost()
    run_for(1, TrialCheckpoint(tmp_path, FILES, Claim(1, 0, 1), cost=cost))
    assert cost.seconds > 0.0
    assert there(tmp_path) == ["trial-0.attempt-1.ckpt"]
    cost.seconds = 1000.0
    run_for(2, TrialCheckpoint(tmp_path, FILES, Claim(2, 1, 1), cost=cost))
    assert there(tmp_path) == ["trial-0.attempt-1.ckpt"]


def test_a_worker_that_lost_its_lease_leaves_its_successors_checkpoint_alone(tmp_path: Path) -> None:
    """Suspended while it wrote: it wakes, finishes writing, and only then learns of its loss."""
    sleeper = attempt(tmp_path, 1)
    run = Rehearsal(CONFIG)
    (first, *_) = run.epochs()
    run_for(4, attempt(tmp_path, 2))
    sleeper.keep(run, [first])
    assert len(attempt(tmp_path, 3).resume(lambda: Rehearsal(CONFIG))[1]) == 4


def test_a_torn_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    run_for(3, attempt(tmp_path, 1))
    (path,) = (p for p in tmp_path.rglob("*") if p.is_file())
    whole = path.read_bytes()
    for torn in (b"", whole[: len(whole) // 2], b"garbage" * 100):
        path.write_bytes(torn)
        assert run_for(9, attempt(tmp_path, 2)) == list(Rehearsal(CONFIG).epochs())
        assert path.parent.is_dir()
        for left in tmp_path.rglob("*.ckpt"):
            left.unlink()


def test_a_checkpoint_that_does_not_fit_leaves_the_run_at_its_start(tmp_path: Path) -> None:
    """Written by another release, say: loading fails half-way, and the trial must start over whole."""

    class Fussy(Rehearsal):
        def load_state_dict(self, state: Any) -> None:
            super().load_state_dict(state)
            raise KeyError("optimizer")

    run_for(3, attempt(tmp_path, 1))
    run, reports = attempt(tmp_path, 2).resume(lambda: Fussy(CONFIG))
    reports += run.epochs()
    assert reports == list(Rehearsal(CONFIG).epochs())


def test_a_folder_that_cannot_be_written_costs_no_trial(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("not a folder")
    opened = make(f"sqlite:///{tmp_path}/study.db", trials=2)
    assert work(opened, WorkerOptions(artifacts=tmp_path / "artifacts"), StopFlag()).trials == 2
    assert {row["state"] for row in read_trials(opened)} == {"complete"}


def interrupting(stop: StopFlag, after: int, counted: list[int]) -> type[Rehearsal]:
    class Counted(Rehearsal):
        def epochs(self) -> Iterator[EpochReport]:
            for report in super().epochs():
                counted.append(report.epoch)
                if len(counted) == after:
                    stop.set(15)
                yield report

    return Counted


def test_a_worker_resumes_an_interrupted_trial_and_ends_as_if_nothing_had_been(
    storage_url: str, tmp_path: Path
) -> None:
    opened, stop, counted = make(storage_url, trials=1), StopFlag(), list[int]()
    options = WorkerOptions(artifacts=tmp_path / "artifacts")
    make_run = interrupting(stop, 3, counted)
    assert work(opened, options, stop, runs=RehearsalRuns(opened, make_run)).trials == 0
    assert trial_of(opened, 0).state == TrialState.WAITING
    assert work(join(storage_url), options, StopFlag(), runs=RehearsalRuns(opened, make_run)).trials == 1
    assert counted == sorted(set(counted))  # no epoch was run twice
    (row,) = read_trials(opened)
    whole = Rehearsal(opened.spec.config(row["params"]))
    reports = list(whole.epochs())
    assert whole.best is not None
    assert row["value"] == whole.best.metrics["val_macro_f1"]
    assert row["metrics"] == whole.best.metrics
    assert (row["epochs"], row["best_epoch"], row["attempts"]) == (len(reports), whole.best.epoch, 2)
    assert trial_of(opened, 0).intermediate_values == {r.epoch: r.metrics["val_macro_f1"] for r in reports}
    assert list((tmp_path / "artifacts").rglob("*.ckpt")) == []


def test_a_trial_that_is_given_up_leaves_no_checkpoint(tmp_path: Path) -> None:
    """Its last worker cannot delete it, being lost; whoever gives the trial up, or works next, does."""
    url, options = f"sqlite:///{tmp_path}/study.db", WorkerOptions(artifacts=tmp_path / "artifacts")
    opened = make(url, trials=1, max_attempts=1, lease=2)
    claimed = claim(opened.storage, opened.study_id, "lost")
    assert claimed is not None
    _, params = ask(opened, claimed)
    run = Rehearsal(opened.spec.config(params))
    (report, *_) = run.epochs()
    TrialCheckpoint(options.artifacts, opened.files, claimed).keep(run, [report])
    age(opened, 0, 1000)
    work(join(url), options, StopFlag())
    assert trial_of(opened, 0).state == TrialState.FAIL
    assert list((tmp_path / "artifacts").rglob("*.ckpt")) == []


# ── what others left behind ──


def there(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def put(folder: Path, *names: str) -> None:
    """Files as workers leave them; what is in them does not matter here."""
    (folder / "checkpoints" / FILES).mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / "checkpoints" / FILES / name).write_bytes(b"{")


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
def test_however_a_trial_ended_nothing_of_it_is_left_over(
    state: TrialState, storage_url: str, tmp_path: Path
) -> None:
    """Its worker was killed after it told and before it deleted, and had been killed while writing before."""
    opened, artifacts = make(storage_url), tmp_path / "artifacts"
    claimed = claim(opened.storage, opened.study_id, "killed")
    assert claimed is not None
    trial, _ = ask(opened, claimed)
    put(artifacts, "trial-0.attempt-1.ckpt", ".trial-0.attempt-1.ckpt.x1.part")
    prune_checkpoints(artifacts, opened)
    assert len(there(artifacts)) == 2  # it runs: they are its worker's own
    report = EpochReport(1, {**METRICS, "val_macro_f1": 0.5}, True)
    value = None if state == TrialState.FAIL else 0.5
    tell(opened, trial, claimed, Ending(state, value, reports=(report,)), 1.0, {})
    prune_checkpoints(artifacts, join(storage_url))
    assert there(artifacts) == []


def test_a_waiting_trial_keeps_its_latest_checkpoint_alone(tmp_path: Path) -> None:
    opened = make(f"sqlite:///{tmp_path}/study.db")
    artifacts = tmp_path / "artifacts"
    put(
        artifacts,
        "trial-0.attempt-1.ckpt",
        "trial-0.attempt-2.ckpt",
        "trial-0.attempt-10.ckpt",
        ".trial-0.attempt-10.ckpt.x1.part",
        "trial-99.attempt-1.ckpt",
        "notes.txt",
    )
    prune_checkpoints(artifacts, opened)
    assert there(artifacts) == ["notes.txt", "trial-0.attempt-10.ckpt", "trial-99.attempt-1.ckpt"]


def test_only_the_attempt_that_runs_may_have_unfinished_files(tmp_path: Path) -> None:
    opened = make(f"sqlite:///{tmp_path}/study.db")
    for _ in range(2):
        claimed = claim(opened.storage, opened.study_id, "w")
        assert claimed is not None
        release(opened.storage, claimed)
    claim(opened.storage, opened.study_id, "w")
    artifacts = tmp_path / "artifacts"
    put(artifacts, *(f".trial-0.attempt-{n}.ckpt.x1.part" for n in (1, 2, 3)))
    prune_checkpoints(artifacts, opened)
    assert there(artifacts) == [".trial-0.attempt-3.ckpt.x1.part"]


def test_a_late_worker_of_a_finished_trial_leaves_nothing(tmp_path: Path) -> None:
    """Suspended inside an epoch, it wakes when its successor has finished, writes, and learns of its loss."""
    url, artifacts = f"sqlite:///{tmp_path}/study.db", tmp_path / "artifacts"
    opened, other = make(url, trials=1), join(url)
    written: list[str] = []

    class Sleepy(Rehearsal):
        def epochs(self) -> Iterator[EpochReport]:
            for report in super().epochs():
                if report.epoch == 2 and not written:
                    age(other, 0, 1000)
                    assert expire(other.storage, other.study_id, 30, 10) == [0]
                    assert work(other, WorkerOptions(artifacts=artifacts), StopFlag()).trials == 1
                    assert there(artifacts / "checkpoints") == []
                    late = TrialCheckpoint(artifacts, FILES, Claim(1, 0, 1))
                    late.keep(self, [report])
                    written.extend(there(artifacts / "checkpoints"))
                yield report

    runs = RehearsalRuns(opened, Sleepy)
    assert work(opened, WorkerOptions(artifacts=artifacts), StopFlag(), runs=runs).trials == 0
    assert written == ["trial-0.attempt-1.ckpt"]
    assert there(artifacts / "checkpoints") == []
    assert trial_of(opened, 0).state.is_finished()


def test_a_late_worker_beside_a_running_successor_withdraws_its_own(tmp_path: Path) -> None:
    sleeper = attempt(tmp_path, 1)
    run = Rehearsal(CONFIG)
    (first, *_) = run.epochs()
    run_for(4, attempt(tmp_path, 2))
    sleeper.keep(run, [first])
    assert there(tmp_path) == ["trial-0.attempt-2.ckpt"]


# ── folders that take nothing, or give nothing back ──


def test_a_full_disk_keeps_the_checkpoint_before_and_costs_no_trial(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Large(Rehearsal):
        def state_dict(self) -> dict[str, Any]:
            weights = {} if self.best is None or self.best.epoch == 1 else {"w": torch.zeros(50_000)}
            return {**super().state_dict(), **weights}

    run, reports = Large(CONFIG), []
    checkpoint = attempt(tmp_path, 1)
    epochs = run.epochs()
    reports.append(next(epochs))
    checkpoint.keep(run, reports)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(before) == 1
    reports += epochs
    assert run.best is not None
    assert run.best.epoch > 1
    with no_file_larger_than(10_000):
        checkpoint.keep(run, reports)
    assert "no checkpoint could be written" in caplog.text
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_files_that_cannot_be_removed_cost_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    opened = make(f"sqlite:///{tmp_path}/study.db", trials=2)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        assert work(opened, WorkerOptions(artifacts=tmp_path / "artifacts"), StopFlag()).trials == 2
    assert {row["state"] for row in read_trials(opened)} <= {"complete", "pruned"}
    assert "cannot be removed (Permission denied)" in caplog.text


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/b", ".."])
def test_a_study_of_a_shared_database_cannot_choose_where_files_go(name: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    honest = make(url, "honest")
    frozen = honest.storage.get_all_studies()[0]
    assert create_study(honest.storage, name, frozen.user_attrs, 1, [])
    with pytest.raises(InputError):
        open_study(url, name)


def test_reaping_and_resuming_by_another_worker(tmp_path: Path) -> None:
    """SIGKILL in one picture: lease runs out, the heir goes on after the last checkpoint."""
    url, artifacts = f"sqlite:///{tmp_path}/study.db", tmp_path / "artifacts"
    opened = make(url, trials=1, lease=2)
    claimed = claim(opened.storage, opened.study_id, "killed")
    assert claimed is not None
    trial, params = ask(opened, claimed)
    checkpoint = TrialCheckpoint(artifacts, opened.files, claimed)
    run, reports = Rehearsal(opened.spec.config(params)), []
    for report, _ in zip(run.epochs(), range(2), strict=False):
        reports.append(report)
        trial.report(report.metrics["val_macro_f1"], report.epoch)
        checkpoint.keep(run, reports)
    age(opened, 0, 1000)
    start = time.monotonic()
    assert work(join(url), WorkerOptions(artifacts=artifacts), StopFlag()).trials == 1
    assert time.monotonic() - start < 20
    (row,) = read_trials(opened)
    whole = Rehearsal(opened.spec.config(params))
    assert row["epochs"] == len(list(whole.epochs()))
    assert whole.best is not None
    assert row["value"] == whole.best.metrics["val_macro_f1"]
    assert expire(opened.storage, opened.study_id, 0, 10) == []
