"""What a stopped run goes on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from gloss_tune.errors import InputError
from gloss_tune.pipeline.folder import PLAN, recalled, stored_plan, write
from gloss_tune.pipeline.plan import Sizes, Speed, plan_time

SPEED, SIZES = Speed(64, 0.6, 0.002), Sizes(6397, 711, 3554, 2)


def test_a_plan_comes_back_as_it_was(tmp_path: Path) -> None:
    plan = plan_time(3600, SPEED, SIZES, 10)
    write(tmp_path / PLAN, {"plan": plan.to_dict(), "speed": vars(SPEED), "sizes": vars(SIZES)})
    stored = stored_plan(tmp_path)
    assert stored is not None
    assert recalled(stored, tmp_path, limited=True) == (plan, SPEED, SIZES)
    unlimited, *_ = recalled(stored, tmp_path, limited=False)
    assert unlimited.seconds is None  # a time that is no longer given buys no more trials
    assert not unlimited.open_ended


def test_another_releases_plan_is_refused(tmp_path: Path) -> None:
    plan = plan_time(3600, SPEED, SIZES, 10).to_dict()
    for stored in ({"plan": plan}, {"plan": {**plan, "pace": 1}, "speed": vars(SPEED), "sizes": vars(SIZES)}):
        with pytest.raises(InputError, match=r"another release.*--output"):
            recalled(stored, tmp_path, limited=True)
