"""What status, trials and export say: the contract's keys, and numbers that agree with the database."""

from __future__ import annotations

import json
import math
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from gloss_tune.cli.options import to_json
from gloss_tune.confirm.export import exported_trial as export
from gloss_tune.errors import GlossTuneError
from gloss_tune.finetune.config import EpochReport
from gloss_tune.queue.claims import claim
from gloss_tune.queue.heartbeats import WorkerEntry, register_worker
from gloss_tune.spec.build import build_spec
from gloss_tune.study import results
from gloss_tune.study.objective import Ending, ask, tell
from gloss_tune.study.results import hyperparameters
from gloss_tune.study.status import status, trials
from gloss_tune.study.study import OpenStudy
from tests.integration.studies import METRICS, join, make

pytestmark = pytest.mark.prepared

STATUS = {
    "study",
    "storage",
    "dataset",
    "model",
    "loss",
    "metric",
    "direction",
    "state",
    "trials",
    "best",
    "workers",
}
COUNTS = {"budget", "complete", "pruned", "failed", "running", "waiting"}
EXPORT = {"study", "dataset", "model", "loss", "metric", "direction", "best", "trials", "versions", "seed"}
TRIAL = {"number", "state", "value", "params", "metrics", "epochs", "seconds", "worker", "attempts"}
MEASURED = {"train_docs_per_second", "train_seconds", "eval_seconds", "peak_memory_mb"}


def end(opened: OpenStudy, state: TrialState, value: float = 0.5, **metrics: float) -> int:
    """Claim the next trial and end it with one epoch."""
    claimed = claim(opened.storage, opened.study_id, "w")
    assert claimed is not None
    trial, _ = ask(opened, claimed)
    trial.report(value, step=1)
    report = EpochReport(1, {**METRICS, "val_macro_f1": value, **metrics}, True)
    failed = state == TrialState.FAIL
    tell(
        opened,
        trial,
        claimed,
        Ending(state, None if failed else value, "broken" if failed else None, reports=(report,)),
        2.0,
        {},
    )
    return claimed.number


def strictly(text: str) -> Any:
    """Parsed as JSON in its strict sense: NaN and Infinity are errors."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def mixed(storage_url: str) -> OpenStudy:
    """Seven trials: two complete, one pruned, one failed, one running, two waiting."""
    opened = make(storage_url, trials=7, seed=3, lease=40)
    end(opened, TrialState.COMPLETE, 0.6)
    end(opened, TrialState.COMPLETE, 0.8, val_silhouette=math.nan)
    end(opened, TrialState.PRUNED, 0.9)
    end(opened, TrialState.FAIL)
    claim(opened.storage, opened.study_id, "w")
    return join(storage_url)


def test_status(mixed: OpenStudy) -> None:
    now = strictly(to_json(status(mixed)))
    assert now.keys() >= STATUS
    assert now["trials"].keys() >= COUNTS
    assert {k: now["trials"][k] for k in COUNTS} == {
        "budget": 7,
        "complete": 2,
        "pruned": 1,
        "failed": 1,
        "running": 1,
        "waiting": 2,
    }
    assert now["state"] == "running"
    assert now["best"]["number"] == 1
    assert now["best"]["value"] == 0.8
    assert now["best"]["params"].keys() == {"mask_ratio", "lpa_iterations", "temperature", "learning_rate"}
    assert (now["study"], now["dataset"], now["loss"], now["metric"], now["direction"]) == (
        "study",
        "mr",
        "gloss",
        "val_macro_f1",
        "maximize",
    )


def test_status_before_the_first_trial(storage_url: str) -> None:
    now = strictly(to_json(status(make(storage_url, trials=3))))
    assert now["state"] == "waiting"
    assert now["best"] is None
    assert now["workers"] == []
    assert now["trials"]["waiting"] == now["trials"]["budget"] == 3


def test_trials(mixed: OpenStudy) -> None:
    rows = strictly(to_json(trials(mixed)))
    assert [row["number"] for row in rows] == list(range(7))
    assert [row["state"] for row in rows] == [
        "complete",
        "complete",
        "pruned",
        "fail",
        "running",
        "waiting",
        "waiting",
    ]
    for row in rows:
        assert row.keys() >= TRIAL
        if row["state"] in ("complete", "pruned"):
            assert row["metrics"].keys() >= MEASURED
    assert [row["value"] for row in rows] == [0.6, 0.8, 0.9, None, None, None, None]
    assert rows[1]["metrics"]["val_silhouette"] is None
    assert [row["attempts"] for row in rows] == [1, 1, 1, 1, 1, 0, 0]
    assert rows[3]["error"] == "broken"
    assert rows[0]["seconds"] == 2.0
    assert rows[5]["params"] == {}


def test_export(mixed: OpenStudy) -> None:
    exported = strictly(to_json(export(mixed)))
    assert exported.keys() >= EXPORT
    assert exported["dataset"].keys() >= {"name", "fingerprint", "n_train", "n_val", "n_classes"}
    assert exported["trials"].keys() >= COUNTS
    best = exported["best"]
    assert best.keys() >= {"number", "value", "params", "metrics", "epoch"}
    assert (best["number"], best["value"], best["epoch"]) == (1, 0.8, 1)  # the pruned 0.9 is no result
    assert best["metrics"].keys() >= {"val_accuracy", "val_macro_f1"}
    assert best["params"].keys() >= {
        "mask_ratio",
        "lpa_iterations",
        "temperature",
        "learning_rate",
        "batch_size",
        "epochs",
    }
    assert exported["seed"] == 3
    assert exported["versions"].keys() >= {"gloss-tune", "torch", "optuna", "python"}


def test_the_export_is_what_the_best_trial_trained_with(mixed: OpenStudy) -> None:
    exported = export(mixed)
    config = mixed.spec.config(trials(mixed)[1]["params"])
    for name, value in exported["best"]["params"].items():
        assert getattr(config, name) == value


def test_nothing_to_export_says_why(storage_url: str) -> None:
    opened = make(storage_url, trials=2)
    with pytest.raises(GlossTuneError, match=r"no complete trial yet \(2 of 2 to go\)") as caught:
        export(opened)
    assert caught.value.exit_code == 1
    end(opened, TrialState.PRUNED)
    end(opened, TrialState.FAIL)
    with pytest.raises(GlossTuneError, match="1 pruned, 1 failed"):
        export(opened)


def test_of_equal_values_the_earlier_trial_is_best(storage_url: str) -> None:
    opened = make(storage_url)
    end(opened, TrialState.COMPLETE, 0.7)
    end(opened, TrialState.COMPLETE, 0.7)
    assert export(opened)["best"]["number"] == 0
    best = status(opened)["best"]
    assert best is not None
    assert best["number"] == 0


def test_readers_change_nothing(mixed: OpenStudy) -> None:
    from tests.integration.studies import contents

    url = mixed.storage.engine.url.render_as_string(hide_password=False)
    before = contents(url)
    status(mixed), trials(mixed), export(mixed)
    assert contents(url) == before


@pytest.mark.parametrize(
    ("loss", "mode", "absent"),
    [
        ("gloss", "integrated", {"margin"}),
        ("gloss", "standalone", {"margin", "gloss_weight", "head_learning_rate"}),
        ("ce", "integrated", {"margin", "gloss_weight", "temperature", "mask_ratio", "lpa_iterations"}),
        ("triplet", "integrated", {"temperature", "mask_ratio"}),
    ],
)
def test_only_hyperparameters_that_count_are_exported(loss: str, mode: str, absent: set[str]) -> None:
    spec = build_spec({"dataset": "mr", "loss": loss, "mode": mode})
    shown = hyperparameters(spec, {"learning_rate": 1e-4})
    assert not absent & shown.keys()
    assert shown["learning_rate"] == 1e-4
    assert "batch_size" in shown


# ── one read, and why a study stopped ──


def test_status_and_export_read_the_history_once(mixed: OpenStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    read = results.read_briefly

    def counted(session: Any, study_id: int) -> Any:
        reads.append(1)
        return read(session, study_id)

    monkeypatch.setattr(results, "read_briefly", counted)
    monkeypatch.setattr(
        optuna.Study, "get_trials", lambda *_, **__: pytest.fail("read every trial as a whole")
    )
    for report in (status, export):
        reads.clear()
        report(mixed)
        assert len(reads) == 1


def test_the_time_to_go_follows_from_the_pace_and_the_workers(storage_url: str) -> None:
    opened = make(storage_url, trials=6)
    assert status(opened)["seconds_to_go"] is None
    end(opened, TrialState.COMPLETE)
    end(opened, TrialState.FAIL)
    assert status(opened)["seconds_to_go"] is None  # there is a pace, and nobody to keep it
    for name in ("a", "b"):
        register_worker(opened.storage, opened.study_id, WorkerEntry(name, "host", 1, "cpu"))
    assert status(opened)["seconds_to_go"] == 2.0 * 4 / 2


def test_a_study_that_was_stopped_says_why_while_something_waits(storage_url: str) -> None:
    opened = make(storage_url, trials=3, max_failures=2)
    assert status(opened)["stopped"] is None
    end(opened, TrialState.FAIL)
    assert status(opened)["stopped"] is None
    end(opened, TrialState.FAIL)
    assert "max_failures" in status(opened)["stopped"]
    end(opened, TrialState.COMPLETE)
    assert status(opened)["stopped"] is None
