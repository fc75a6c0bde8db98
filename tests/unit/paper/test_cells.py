"""The paper's protocol: which studies, with which budgets, beside which numbers."""

from __future__ import annotations

import pytest

from gloss_tune.errors import SpecError
from gloss_tune.paper.cells import plan
from gloss_tune.paper.numbers import DATASETS, published
from gloss_tune.spec.build import build_spec, fitted_to

BERT = "bert-base-uncased"


def test_all_losses_have_the_papers_budget() -> None:
    cells = plan(DATASETS, ["ce", "scl", "gloss"], [BERT], ["integrated"], {})
    assert len({cell.name for cell in cells}) == 15
    for cell in cells:
        spec = cell.spec
        assert (spec.trials, spec.sampler, spec.pruner) == (15, "tpe", "none")
        assert [spec.train[name] for name in ("epochs", "patience", "batch_size", "max_length")] == [
            200,
            10,
            128,
            128,
        ]
        (rate,) = [searched for searched in spec.ranges if searched.name == "learning_rate"]
        assert (rate.low, rate.high) == (1e-5, 5e-5)
    gloss = next(cell.spec for cell in cells if cell.loss == "gloss")
    assert gloss.train["propagation"] == "closed_form"
    ranges = {searched.name: (searched.low, searched.high) for searched in gloss.ranges}
    assert ranges["temperature"] == (0.01, 100.0)  # σ in [0.1, 10]
    assert ranges["mask_ratio"] == ranges["gloss_weight"] == (0.1, 0.9)


def test_options_make_all_of_them_smaller() -> None:
    cells = plan(["mr"], ["ce", "gloss"], ["a/b"], ["integrated"], {"trials": 2, "train": {"epochs": 1}})
    assert [(cell.spec.trials, cell.spec.train["epochs"], cell.spec.model) for cell in cells] == [
        (2, 1, "a/b")
    ] * 2


def test_cross_entropy_has_no_standalone_mode() -> None:
    cells = plan(["r8"], ["ce", "gloss"], [BERT], ["integrated", "standalone"], {})
    assert [(cell.mode, cell.loss) for cell in cells] == [
        ("integrated", "ce"), ("integrated", "gloss"), ("standalone", "gloss"),
    ]  # fmt: skip
    assert cells[2].published == (97.83, None)


def test_a_data_set_of_ones_own_has_the_same_budget_and_no_published_number(tmp_path) -> None:
    (cell,) = plan([str(tmp_path)], ["gloss"], [BERT], ["integrated"], {})
    assert cell.spec.dataset == str(tmp_path)
    assert cell.spec.trials == 15
    assert cell.published is None


def test_published_numbers_are_found_by_name() -> None:
    assert published(BERT, "integrated", "gloss", "ohsumed") == (71.25, 0.59)
    assert published("google-bert/bert-base-uncased", "integrated", "ce", "mr") == (85.64, 0.81)
    assert published("roberta-large", "integrated", "scl", "mr") is None
    assert published("roberta-large", "integrated", "ce", "20ng") == (84.89, 0.36)


@pytest.mark.parametrize("place", range(4))
def test_an_empty_list_is_wrong(place: int) -> None:
    lists = [["mr"], ["ce"], [BERT], ["integrated"]]
    lists[place] = []
    with pytest.raises(SpecError, match="name at least one"):
        plan(*lists, {})


def test_a_wrong_name_is_told() -> None:
    with pytest.raises(SpecError, match="loss"):
        plan(["mr"], ["hinge"], [BERT], ["integrated"], {})


def test_a_file_for_one_loss_serves_another() -> None:
    file = {"dataset": "mr", "train": {"propagation": "closed_form"}, "space": {"mask_ratio": {"low": 0.2}}}
    with pytest.raises(SpecError, match="no effect"):
        build_spec(file, {"loss": "scl"})
    spec = build_spec(fitted_to(file, "scl", "integrated"), {"loss": "scl"})
    assert list(spec.space) == ["temperature", "learning_rate"]
    assert file["space"] == {"mask_ratio": {"low": 0.2}}  # the file is left as it was
