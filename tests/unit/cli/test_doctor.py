"""What ``doctor`` prints below the list."""

from __future__ import annotations

import pytest

from gloss_tune.cli.doctor import _estimated, _print_end
from gloss_tune.doctor.checklist import Finding
from gloss_tune.doctor.examination import Diagnosis, Estimate


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(30.0, 0.0, 1), "30 s a trial; none is left"),
        (Estimate(0.0, 0.0, 1), "about 0 s a trial, 0 s for all that is left with 1 worker; "),
        (Estimate(90.0, 7200.0, 2), "about 1.5 min a trial, 2.0 h for all that is left with 2 workers; "),
    ],
)
def test_the_estimate(estimate: Estimate, text: str) -> None:
    assert _estimated(estimate).startswith(text)


def test_what_was_skipped_for_one_reason_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = [Finding("no study yet", "skipped", "make one", name=name) for name in ("study", "trial")]
    other = Finding("not needed", "skipped", name="device")
    warned = Finding("busy", "warning", "wait", name="cores")
    _print_end(Diagnosis((*skipped, other, warned), None))
    assert [line.split(maxsplit=1)[-1] for line in capsys.readouterr().out.splitlines() if line] == [
        "study, trial: no study yet; make one", "device: not needed", "failed, 1 warning.",
    ]  # fmt: skip
