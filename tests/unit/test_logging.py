"""Lines say whose they are, and no password."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gloss_tune.logging import configure, logger


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def test_a_prefix_says_whose_line_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    configure(prefix="worker 2: ")
    logger.info("Trial %d: 100 %% on postgresql://ann:secret@host/db", 7)
    assert capsys.readouterr().err.endswith(" worker 2: Trial 7: 100 % on postgresql://ann:***@host/db\n")
    configure()
    logger.info("alone")
    assert capsys.readouterr().err.split(" ", 1)[1] == "alone\n"
