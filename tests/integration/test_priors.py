"""A study that begins with what another one knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gloss_tune.confirm.export import export
from gloss_tune.errors import InputError, StudyMismatchError
from gloss_tune.signals import StopFlag
from gloss_tune.spec.build import build_spec
from gloss_tune.study.create import create
from gloss_tune.study.extend import extend
from gloss_tune.study.priors import base_layer, best_settings
from gloss_tune.study.status import status, trials
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.worker import WorkerOptions, work
from tests.integration.studies import contents, join, make

pytestmark = [pytest.mark.timeout(60), pytest.mark.prepared]

NARROW = {"space": {"temperature": {"high": 0.3}}}


def finish(opened: OpenStudy) -> None:
    work(opened, WorkerOptions(artifacts=Path("gloss-tune-artifacts")), StopFlag())


@pytest.fixture
def known(storage_url: str) -> OpenStudy:
    opened = make(storage_url, "known", trials=8, pruner="none", train={"epochs": 3})
    finish(opened)
    return join(storage_url, "known")


def beginning_from(known: OpenStudy, url: str, *layers: dict[str, Any], history: bool = False) -> OpenStudy:
    spec = build_spec(base_layer(known, layers), *layers)
    return create(spec, url, "new", imported=known if history else None).study


def test_the_best_settings_within_the_new_space_come_first(known: OpenStudy) -> None:
    spec = build_spec(base_layer(known, [NARROW]), NARROW)
    settings = best_settings(known, spec)
    rows = sorted(trials(known), key=lambda row: -row["value"])
    best = rows[0]["params"]
    inside = {name: value for name, value in best.items() if name != "temperature" or value <= 0.3}
    assert settings[0] == inside
    assert all(0.01 <= setting.get("temperature", 0.1) <= 0.3 for setting in settings)
    assert len(settings) == len({str(setting) for setting in settings}) == 5


def test_the_history_counts_and_the_budget_comes_on_top(known: OpenStudy, storage_url: str) -> None:
    new = beginning_from(known, storage_url, NARROW, {"trials": 3}, history=True)
    carried = [row for row in trials(known) if row["params"]["temperature"] <= 0.3]
    assert 0 < len(carried) < 8
    now = status(new)["trials"]
    assert (now["complete"], now["waiting"], now["budget"]) == (len(carried), 3, len(carried) + 3)
    found = trials(new)[: len(carried)]
    same = ("value", "params", "metrics", "epochs", "seconds")
    assert [[row[key] for key in same] for row in found] == [[row[key] for key in same] for row in carried]
    best = max(carried, key=lambda row: row["value"])
    assert export(new)["best"]["params"]["temperature"] == best["params"]["temperature"]
    finish(join(storage_url, "new"))
    rows = trials(join(storage_url, "new"))
    assert len(rows) == len({str(row["params"]) for row in rows}) == len(carried) + 3
    assert all(row["params"]["temperature"] <= 0.3 for row in rows)
    assert extend(join(storage_url, "new"), 2).trials == len(carried) + 5


def test_repeating_it_is_a_no_op(known: OpenStudy, storage_url: str) -> None:
    new = beginning_from(known, storage_url, NARROW, {"trials": 3}, history=True)
    before = contents(storage_url)
    again = beginning_from(known, storage_url, NARROW, {"trials": 3}, history=True)
    assert again.spec == new.spec
    assert contents(storage_url) == before


def test_a_hyperparameter_that_is_fixed_now_chooses_among_the_trials(
    known: OpenStudy, storage_url: str
) -> None:
    value = trials(known)[2]["params"]["lpa_iterations"]
    new = beginning_from(known, storage_url, {"space": {"lpa_iterations": value}, "trials": 2}, history=True)
    carried = [row for row in trials(known) if row["params"]["lpa_iterations"] == value]
    assert [row["value"] for row in trials(new)[:-2]] == [row["value"] for row in carried]
    assert "lpa_iterations" not in trials(new)[0]["params"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"train": {"epochs": 5}}, r"train\.epochs"),
        ({"loss": "ce"}, "loss"),
        ({"metric": "val_accuracy"}, "metric"),
        ({"seed": 5}, "seed"),
        ({"dataset": "r8"}, r"dataset\.name"),
        ({"train": {"batch_size": 8}}, r"train\.batch_size"),
    ],
)
def test_what_does_not_compare_is_refused_field_by_field(
    known: OpenStudy, storage_url: str, change: dict[str, Any], named: str
) -> None:
    before = contents(storage_url)
    with pytest.raises(StudyMismatchError, match=named):
        beginning_from(known, storage_url, change, history=True)
    assert contents(storage_url) == before


def test_a_confirmation_is_no_beginning(known: OpenStudy, storage_url: str) -> None:
    from gloss_tune.confirm.confirmation import confirm

    with pytest.raises(InputError, match="is the confirmation"):
        base_layer(confirm(known, 1, 2).study, [])
