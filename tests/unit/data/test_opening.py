"""What is in a file, told from its bytes; a large one is read under a progress bar."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from gloss_tune.data import opening
from gloss_tune.data.encoding import encoding_of
from gloss_tune.data.reading import read_documents
from gloss_tune.data.texts import read_texts, survey_texts
from gloss_tune.errors import DataError

ROWS = [(f"document {number} of some length", "ab"[number % 2]) for number in range(2_000)]
CSV = "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stream on a pseudo terminal, and what a person would have seen there."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with os.fdopen(theirs, "w", encoding="utf-8") as stderr:

        def seen() -> str:
            stderr.write("END")
            stderr.flush()
            found = b""
            while not found.endswith(b"END"):
                found += os.read(ours, 1 << 16)
            return found.decode()

        yield stderr, seen
    os.close(ours)


def test_a_large_file_is_read_under_a_progress_bar_that_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: Any
) -> None:
    (tmp_path / "big.csv").write_text(CSV)
    assert opening._LARGE == 32 << 20
    monkeypatch.setattr(opening, "_LARGE", len(CSV))
    monkeypatch.setattr(sys, "stderr", terminal[0])
    assert read_documents(tmp_path / "big.csv") == ROWS
    seen = terminal[1]()
    assert "Reading big.csv" in seen
    assert "━" in seen
    assert "kB" in seen
    assert seen.rindex("\x1b[2K") > seen.rindex("Reading big.csv"), "wiped out at the end"


def test_a_small_file_and_a_log_get_no_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: Any
) -> None:
    (tmp_path / "small.csv").write_text(CSV)
    monkeypatch.setattr(sys, "stderr", terminal[0])
    assert read_documents(tmp_path / "small.csv") == ROWS
    assert terminal[1]() == "END"
    monkeypatch.setattr(opening, "_LARGE", 1)
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    assert read_documents(tmp_path / "small.csv") == ROWS
    assert log.getvalue() == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"SQLite format 3\0" + b"\0" * 99, "a database"),
        (b"\x80\x04\x95\x12", "a pickle"),
        (b"%PDF-1.4\n", "a PDF"),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "Unpack it"),
        (b"\x04\x22\x4d\x18abc", "packed by lz4"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    ],
)
@pytest.mark.parametrize("name", ["d.csv", "d.jsonl", "d.parquet", "d"])
def test_files_of_other_kinds_are_named(tmp_path: Path, content: bytes, said: str, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    for read in (read_documents, lambda path: survey_texts(path, path.name)):
        with pytest.raises(DataError, match=said):
            read(tmp_path / name)


@pytest.mark.parametrize("name", ["d.arrow", "d.feather", "d.csv", "stream.arrow"])
def test_arrow_and_feather(tmp_path: Path, name: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    texts, labels = zip(*ROWS, strict=True)
    table = pyarrow.table({"id": range(len(texts)), "text": texts, "label": labels})
    opens = pyarrow.ipc.new_stream if name.startswith("stream") else pyarrow.ipc.new_file
    with opens(tmp_path / name, table.schema) as writer:
        writer.write_table(table)
    assert read_documents(tmp_path / name) == ROWS
    found = list(read_texts(tmp_path / name, name))
    assert [record.text for record in found] == list(texts)
    assert found[-1].values["id"] == len(texts) - 1
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:1000])
    with pytest.raises(DataError, match="not a readable Arrow file"):
        read_documents(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize(
    "text", ["text,label\ngood,a\n", "文章很好看的电影,标签\n好的😀故事,一\n", "text,label\n😀😀,é\n"]
)
def test_unicode_without_a_mark(encoding: str, text: str) -> None:
    assert encoding_of(text.encode(encoding), None).removesuffix("-sig") == encoding


def test_a_zero_byte_in_a_text_makes_no_other_encoding_of_it(tmp_path: Path) -> None:
    (tmp_path / "d.tsv").write_bytes(b"text\tlabel\ngo\0od\ta\nbad\tb\n")
    assert read_documents(tmp_path / "d.tsv") == [("go\0od", "a"), ("bad", "b")]
