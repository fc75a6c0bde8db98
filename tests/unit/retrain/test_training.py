"""Whether there is time for one more final training."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gloss_tune.retrain import training as training_module
from gloss_tune.retrain.scores import SeedResult
from gloss_tune.retrain.training import FinalTraining


@pytest.mark.parametrize(
    ("left", "epochs", "fits"),
    [
        (51.0, 10, True),  # half of 100 s
        (49.0, 10, False),
        (99.0, 2, False),  # two epochs at least: of two, the whole
        (101.0, 2, True),
        (-5.0, 10, False),
        (None, 10, False),  # nobody gave a time
    ],
)
def test_another_seed_needs_time_for_half_of_a_training(
    monkeypatch: pytest.MonkeyPatch, left: float | None, epochs: int, fits: bool
) -> None:
    nothing: Any = None
    encoder: Any = SimpleNamespace(trust_remote_code=False)
    monkeypatch.setattr(training_module, "Session", lambda *_: nothing)
    monkeypatch.setattr(training_module.time, "monotonic", lambda: 1000.0)
    config: Any = SimpleNamespace(max_length=16)
    deadline = None if left is None else 1000 + left
    training = FinalTraining(nothing, encoder, "cpu", config, lambda: None, deadline=deadline)
    training.results.append(SeedResult(0, 1, epochs, 100.0, 0.5, {}, None))
    assert training.fits_another() is fits
