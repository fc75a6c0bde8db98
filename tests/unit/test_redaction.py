"""Passwords in talk: masked in every form that a URL or a driver's message gives them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from gloss_tune.logging import configure, logger, redact


@pytest.fixture
def restored() -> Iterator[None]:
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:S3CRET@host/db",
        "postgresql+psycopg://me:S3CRET@host:5432/db?sslmode=require",
        "POSTGRESQL://ME:S3CRET@HOST/DB",
        "at postgresql://me:S3CRET@host/db, and postgresql://you:S3CRET@host/db",
        "'postgresql://me:S3CRET@host/db'",
        "postgresql://:S3CRET@host/db",
        "postgresql://me:S3:C@RET@host/db",
        "postgresql://me:%53S3CRET%40@host/db",
        "postgresql://host/db?user=me&password=S3CRET",
        "postgresql://host/db?password=S3CRET&user=me",
        "host=h password=S3CRET user=me",
        "password='S3CRET with spaces' user=me",
        "connect(password=S3CRET, host=h)",
        "PASSWORD=S3CRET",
        "(password='S3CRET')",
    ],
)
def test_a_password_is_masked_and_the_rest_stays(text: str) -> None:
    shown = redact(text)
    assert "S3C" not in shown
    assert "RET" not in shown
    assert "***" in shown
    assert redact(shown) == shown
    for kept in ("host/db", "user=me"):
        assert (kept in shown) == (kept in text)


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////data/study.db",
        "postgresql://me@host:5432/db",
        "10:30 me@host",
        "a:b@c",
        "the password is wrong",
        "",
    ],
)
def test_what_holds_no_password_is_left_alone(text: str) -> None:
    assert redact(text) == text


def test_no_log_line_shows_a_password(restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    url = "postgresql://me:S3CRET@host/db"
    configure()
    configure()  # calling it twice does not print twice
    logger.warning("%s is away (%s)", url, ValueError(url))
    try:
        raise ValueError(url)
    except ValueError as error:
        logger.error("failed: %s", error)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "S3CRET" not in captured.err
    assert len(captured.err.splitlines()) == 2
    assert "host/db is away" in captured.err


def test_debugging_is_quiet_and_other_packages_are_not_touched(
    restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger().handlers[:]
    configure()
    logger.debug("not said")
    assert capsys.readouterr().err == ""
    assert logging.getLogger().handlers == root
