import math

import pytest

from gloss_tune.finetune.stopping import EarlyStopping


@pytest.mark.parametrize(
    ("values", "best_epoch"),
    [
        ([0.5, 0.7, 0.6], 2),
        ([0.5, 0.7, 0.7], 2),  # a tie keeps the earlier
        ([-0.3, -0.2], 2),
        ([math.nan, 0.1], 2),
        ([0.1, math.nan], 1),
        ([math.nan, math.nan], 1),
    ],
)
def test_only_a_strictly_greater_value_is_better(values: list[float], best_epoch: int) -> None:
    stopping = EarlyStopping("val", patience=9)
    reports = [stopping.update({"val": value}) for value in values]
    assert stopping.best is reports[best_epoch - 1]
    assert [report.epoch for report in reports if report.is_best][-1] == best_epoch


def test_patience_counts_epochs_since_the_best() -> None:
    stopping = EarlyStopping("val", patience=2)
    exhausted = []
    for value in (0.5, 0.4, 0.6, 0.5, 0.6):
        stopping.update({"val": value})
        exhausted.append(stopping.exhausted)
    assert exhausted == [False, False, False, False, True]


def test_continues_from_its_state() -> None:
    one, other = EarlyStopping("val", patience=2), EarlyStopping("val", patience=2)
    one.update({"val": 0.5})
    other.load_state_dict(one.state_dict())
    assert other.best == one.best
    assert one.update({"val": 0.4}) == other.update({"val": 0.4})
