"""The paper's protocol killed in the middle: the same command finishes it, and nothing is run twice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gloss_tune.study.status import trials as read_trials
from gloss_tune.study.study import open_study
from tests.acceptance.conftest import Commands, until

pytestmark = pytest.mark.timeout(60)

PROTOCOL = (
    "paper", "--rehearse", "--datasets", "mr,r8", "--losses", "ce,gloss", "--trials", 2, "--epochs", 2,
    "--seeds", 2, "--lease", 2, "--format", "json",
)  # fmt: skip
NAMES = [
    f"paper-{data}-bert-base-uncased-{loss}-rehearsal" for data in ("mr", "r8") for loss in ("ce", "gloss")
]


def numbers(found: dict[str, Any]) -> list[Any]:
    """What was measured, without how long it took."""
    return [{key: value for key, value in cell.items() if key != "seconds"} for cell in found["cells"]]


def test_a_killed_protocol_is_finished_by_the_same_command(commands: Commands) -> None:
    commands.storage = f"sqlite:///{commands.folder}/whole.db"
    whole = json.loads(commands(*PROTOCOL).stdout)
    assert [cell["study"] for cell in whole["cells"]] == NAMES
    assert whole["cells"][0]["published"] == {"mean": 85.64, "sd": 0.81}
    assert [cell["val"]["n"] for cell in whole["cells"]] == [2] * 4

    commands.storage = f"sqlite:///{commands.folder}/broken.db"
    killed = commands.start(*PROTOCOL)
    until(lambda: "Study 2 of 4" in killed.stderr)
    killed.kill()
    killed.wait()
    again = json.loads(commands(*PROTOCOL).stdout)
    assert numbers(again) == numbers(whole)
    assert again["verdicts"] == whole["verdicts"]
    for name in NAMES:
        for study, count in ((name, 2), (f"{name}.confirm", 2)):
            rows = read_trials(open_study(commands.storage, study, read_only=True))
            assert [row["state"] for row in rows] == ["complete"] * count
