"""One reader of SQLite's URLs: the same file for all who ask."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from sqlalchemy.engine import make_url

from gloss_tune.errors import StorageError
from gloss_tune.storage.sqlite_file import find_fault, path_in_url, url_of
from gloss_tune.storage.url import engine_url, parse_storage_url, shown_url
from gloss_tune.workers.artifacts.store import artifacts_folder
from tests.conftest import CommandLine

NAMES = {
    "a%3Fb.db": "a?b.db",
    "100%.db": "100%.db",
    "50%25.db": "50%.db",
    "my study.db": "my study.db",
    "my%20study.db": "my study.db",
    "#1.db": "#1.db",
    "%231.db": "#1.db",
    "größe.db": "größe.db",
    "{a}.db": "{a}.db",
    "sub/../x.db": "sub/../x.db",
    "/abs/x.db": "/abs/x.db",
    "file:x.db": "file:x.db",
}


def path_of_engine(database: str) -> Path:
    """The file of an engine, by the name or the ``file:`` address that its URL has."""
    if database.startswith("file:"):
        return Path(url2pathname(urlsplit(database).path))
    return Path(database)


@pytest.mark.parametrize(("text", "name"), NAMES.items())
def test_a_url_names_one_file(text: str, name: str) -> None:
    url = parse_storage_url(f"sqlite:///{text}")
    assert url.database == name == str(path_in_url(text))
    assert parse_storage_url(shown_url(url)) == url, "what is shown can be given again"
    rendered = engine_url(url).render_as_string(hide_password=False)
    assert path_of_engine(str(make_url(rendered).database)) == Path(name).absolute()
    assert path_in_url(url_of(Path(name)).removeprefix("sqlite:///")) == Path(name)


def test_a_tilde_is_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_storage_url("sqlite:///~/x.db").database == f"{tmp_path}/x.db"
    assert artifacts_folder("sqlite:///~/x.db") == tmp_path / "gloss-tune-artifacts"


@pytest.mark.parametrize(
    "text", ["a?b.db", "a.db?mode=ro", "a%00b.db", "a%0Ab.db", "a%FFb.db", "~nobody-here/x.db"]
)
def test_a_url_that_names_no_file_is_refused(text: str) -> None:
    with pytest.raises(StorageError, match="sqlite:///FILE"):
        parse_storage_url(f"sqlite:///{text}")


@pytest.mark.timeout(120)
def test_a_question_mark_makes_no_other_file(gloss_tune_cli: CommandLine, tmp_path: Path) -> None:
    create = ["create", "--rehearse", "--dataset", "mr", "--trials", "1", "--storage"]
    assert "%3F" in gloss_tune_cli(*create, "sqlite:///a?b.db", exit_code=2).stderr
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "s p").mkdir()
    url = "sqlite:///s p/a%3Fb#1.db"
    gloss_tune_cli(*create, url)
    assert {"a?b#1.db"} == {path.name for path in (tmp_path / "s p").iterdir()}
    gloss_tune_cli("status", "--storage", url)
    assert f"{tmp_path}/s p/a?b#1.db answers" in gloss_tune_cli("doctor", "--storage", url).stdout
    assert artifacts_folder(url) == Path("s p/gloss-tune-artifacts")
    connection = sqlite3.connect(tmp_path / "s p" / "a?b#1.db")
    assert connection.execute("SELECT count(*) FROM trials").fetchone() == (1,)
    connection.close()


def test_what_cannot_be_a_storage_says_why_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 100)
    (tmp_path / "little").write_text("x")
    (tmp_path / "empty").touch()
    for place, words in {
        "gone/x.db": "does not exist",
        ".": "is a folder",
        "x.db": "does not exist",
        "text": "not an SQLite database",
        "little": "not an SQLite database",
    }.items():
        fault = find_fault(tmp_path / place)
        assert fault is not None
        assert words in fault.found
        assert str(tmp_path) in fault.found
    assert find_fault(tmp_path / "empty") is None
    assert find_fault(tmp_path / "x.db", create=True) is None
