"""Priors that nobody gave: which studies have them, what is drawn from them, and studies that have none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from gloss_tune.errors import StudyMismatchError
from gloss_tune.report.best_setting import findings, prior_text
from gloss_tune.signals import StopFlag
from gloss_tune.spec.build import build_spec
from gloss_tune.spec.spec import StudySpec
from gloss_tune.storage import schema
from gloss_tune.study.create import create, try_out
from gloss_tune.study.priors import base_layer
from gloss_tune.study.status import trials
from gloss_tune.study.study import SPEC, OpenStudy
from gloss_tune.workers.worker import WorkerOptions, work
from tests.integration.studies import contents, join, make

pytestmark = [pytest.mark.timeout(60), pytest.mark.prepared]

RATE = {"low": 1e-6, "high": 1e-3, "log": True}


def spec_of(**layer: Any) -> StudySpec:
    return build_spec({"dataset": "mr", "rehearse": True, "trials": 4, "lease": 30}, layer)


def rates(opened: OpenStudy) -> list[float]:
    work(opened, WorkerOptions(artifacts=Path("gloss-tune-artifacts")), StopFlag())
    return [row["params"]["learning_rate"] for row in trials(opened)]


@pytest.mark.parametrize(
    ("model", "rate"),
    [
        ("sentence-transformers/all-MiniLM-L6-v2", 1e-4),
        ("bert-base-uncased", 3e-5),
        ("roberta-large", 2e-5),
    ],
)
def test_the_customary_rate_depends_on_the_encoders_size(model: str, rate: float) -> None:
    tried = try_out(spec_of(model=model), None)
    assert tried.space["learning_rate"].to_dict() == {**RATE, "prior": rate, "spread": 0.5}
    assert tried.first_trials == ("customary",)


@pytest.mark.parametrize(
    "layer",
    [
        {"priors": False},
        {"sampler": "random"},
        {"sampler": "qmc"},
        {"sampler": "grid", "space": {"learning_rate": {"points": 2}}},
        {"model": "someone/encoder"},
        {"space": {"learning_rate": {"low": 1e-6, "high": 5e-5}}},
        {"space": {"learning_rate": {"choices": [1e-5, 1e-4]}}},
        {"space": {"learning_rate": 1e-4}},
    ],
)
def test_studies_without_a_shipped_prior_are_as_they_were(layer: dict[str, Any]) -> None:
    asked = spec_of(**layer)
    assert try_out(asked, None) == asked


def test_a_prior_of_ones_own_is_kept_and_begun_with() -> None:
    tried = try_out(spec_of(space={"learning_rate": {"prior": 5e-6, "spread": 0.2}}), None)
    assert tried.space["learning_rate"].prior == 5e-6
    assert tried.first_trials == ("customary",)


def test_first_trials_of_ones_own_come_alone() -> None:
    assert try_out(spec_of(first_trials=["published"]), None).first_trials == ("published",)


def test_the_first_trial_is_the_customary_setting_and_the_next_are_near(storage_url: str) -> None:
    found = rates(make(storage_url, trials=10))
    assert found[0] == 1e-4
    near = [rate for rate in found[1:] if abs(math.log10(rate / 1e-4)) <= 0.75]
    assert len(near) >= 5  # of evenly drawn ones 5 in 12 would be as near


def test_whoever_draws_draws_the_same(storage_url: str, tmp_path: Path) -> None:
    alone = rates(make(f"sqlite:///{tmp_path}/other.db", trials=6))
    opened = make(storage_url, trials=6)
    for _ in range(6):
        work(join(storage_url), WorkerOptions(artifacts=tmp_path, max_trials=1), StopFlag())
    assert rates(opened) == alone


def test_a_random_search_with_a_prior_draws_from_it_to_its_end(storage_url: str) -> None:
    narrow = {"learning_rate": {"prior": 1e-5, "spread": 0.05}}
    found = rates(make(storage_url, trials=40, sampler="random", space=narrow))
    near = [rate for rate in found if abs(math.log10(rate / 1e-5)) < 0.25]
    assert 22 <= len(near) <= 38  # three quarters, and some of the even ones


def test_repeating_a_study_with_shipped_priors_changes_nothing(storage_url: str) -> None:
    make(storage_url)
    before = contents(storage_url)
    assert not create(spec_of(), storage_url, "study").is_new
    assert contents(storage_url) == before


@pytest.mark.parametrize(
    ("made", "asked", "field"),
    [
        ({}, {"priors": False}, "priors: the study has True, got False"),
        ({"priors": False}, {}, "priors: the study has False, got True"),
        (
            {},
            {"space": {"learning_rate": {"prior": 2e-5}}},
            "space.learning_rate.prior: the study has 0.0001, got 2e-05",
        ),
        ({"space": {"learning_rate": {"prior": 2e-5}}}, {}, "space.learning_rate.prior: the study has 2e-05"),
        ({"first_trials": ["published"]}, {}, "first_trials: "),
        ({}, {"first_trials": ["published"]}, "first_trials: "),
    ],
)
def test_another_prior_is_another_study(
    storage_url: str, made: dict[str, Any], asked: dict[str, Any], field: str
) -> None:
    make(storage_url, **made)
    with pytest.raises(StudyMismatchError) as refused:
        create(spec_of(**asked), storage_url, "study")
    assert field in str(refused.value)


def test_a_study_of_a_release_without_priors_goes_on_and_is_found_again(storage_url: str) -> None:
    opened = make(storage_url, priors=False)
    attribute = schema.StudyUserAttribute
    with opened.storage.transaction() as session:
        row = session.scalars(sqlalchemy.select(attribute).where(attribute.key == SPEC)).one()
        stored = json.loads(row.value_json)
        del stored["priors"]
        row.value_json = json.dumps(stored)
    before = contents(storage_url)
    for layer in ({}, {"priors": False}):
        assert not create(spec_of(**layer), storage_url, "study").is_new
    assert contents(storage_url) == before
    again = join(storage_url)
    assert again.spec.space["learning_rate"].prior is None
    assert len(set(rates(again))) == 4


def test_a_study_from_another_takes_its_priors_where_they_still_fit(storage_url: str) -> None:
    known = make(storage_url, space={"learning_rate": {"prior": 3e-5}})
    assert build_spec(base_layer(known, [])).space["learning_rate"].prior == 3e-5
    for layer in (
        {"space": {"learning_rate": {"high": 1e-5}}},
        {"priors": False},
        {"sampler": "qmc"},
        {"model": "bert-base-uncased"},
        {"loss": "ce"},
    ):
        assert build_spec(base_layer(known, [layer]), layer).space["learning_rate"].prior is None


def test_the_report_says_where_the_prior_was_and_where_the_best_was_found() -> None:
    space = {"learning_rate": {"prior": 1e-4}, "batch_size": {"prior": 64}, "mask_ratio": {}}
    ranges = spec_of(space=space).ranges
    by_name = {searched.name: searched for searched in ranges}
    assert prior_text(by_name["learning_rate"]) == "0.0001 ± 0.5 decades"
    assert prior_text(by_name["batch_size"]) == "64, others 50%"
    assert prior_text(by_name["mask_ratio"]) == ""
    text = findings(ranges, {"learning_rate": 1e-5 / 2, "batch_size": 64, "mask_ratio": 0.2})
    assert (
        "`learning_rate` was expected at 0.0001; the best has 5e-06, 2.6 spreads below: outside the spread."
        in text
    )
    assert "The prior was off" in text
    assert "`batch_size` was expected at 64; the best has 64, as expected." in text
    assert "mask_ratio" not in text
