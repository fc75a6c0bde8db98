"""predict gives as many rows as the file has records, whatever its format, texts and packing."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gloss_tune.data.texts import read_texts, survey_texts
from gloss_tune.errors import DataError

# what tears records apart: quotes, separators, line ends, signs of other formats, and nothing
PIECES = [
    "a",
    "fine film",
    '"',
    '""',
    "\t",
    ",",
    ";",
    "\n",
    "\r\n",
    "{",
    "[1]",
    "é",
    "漢",
    "\u2028",
    "\u0085",
    "#",
    " ",
    "'",
]
TEXTS = st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), min_size=1, max_size=8)
PACKS: dict[str, Any] = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def one_line(text: str) -> str:
    return " ".join(text.replace("\t", " ").splitlines())


def written(texts: list[str], format: str) -> str:
    """As a program writes them that knows the format."""
    rows = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    if format in ("csv", "quoted.tsv", "semicolon.csv"):
        table = io.StringIO(newline="")
        writer = csv.DictWriter(
            table, ["id", "text"], delimiter={"csv": ",", "quoted.tsv": "\t"}.get(format, ";")
        )
        writer.writeheader()
        writer.writerows(rows)
        return table.getvalue()
    if format == "tsv":  # without any quoting
        return "id\ttext\n" + "".join(f"{row['id']}\t{one_line(row['text'])}\n" for row in rows)
    if format in ("jsonl", "ndjson"):
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if format == "lines.txt":
        return "".join(one_line(text) + "\n" for text in texts)
    if format == "columns.json":
        return json.dumps(
            {name: {str(i): row[name] for i, row in enumerate(rows)} for name in ("id", "text")}
        )
    if format == "studio.json":
        return json.dumps(
            [{"id": row["id"], "data": {"text": row["text"]}, "annotations": []} for row in rows]
        )
    return json.dumps(rows, indent=1)


def is_table_of_lines(texts: list[str]) -> bool:
    """Whether each line of a quoted TSV, of which some texts span several, is a record by itself."""
    lines = io.StringIO(written(texts, "quoted.tsv"), newline="").readlines()
    return len(lines) > len(texts) + 1 and all(line.count("\t") == 1 for line in lines)


FORMATS = [
    "csv",
    "quoted.tsv",
    "semicolon.csv",
    "tsv",
    "jsonl",
    "ndjson",
    "json",
    "columns.json",
    "studio.json",
    "lines.txt",
]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts=TEXTS, format=st.sampled_from(FORMATS), pack=st.sampled_from(sorted(PACKS)),
       encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))  # fmt: skip
def test_as_many_rows_as_records(texts: list[str], format: str, pack: str, encoding: str) -> None:
    from gloss_tune.data import Layout

    if format == "lines.txt" and written(texts, format).lstrip()[:1] in ("{", "["):
        return  # could as well be JSON
    layout = Layout(separator=";" if format == "semicolon.csv" else None)
    raw = PACKS[pack](written(texts, format).encode(encoding))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"texts-{format.replace('.', '-')}.{format.rsplit('.')[-1]}{pack}")
        path.write_bytes(raw)
        try:
            number, _ = survey_texts(path, path.name, "text", layout)
        except DataError as error:
            # two stray quotes that tear a TSV apart in two ways are refused; nothing else is
            assert format == "quoted.tsv", error
            return
        records = list(read_texts(path, path.name, "text", layout))
        assert len(records) == number
        if format == "quoted.tsv" and is_table_of_lines(texts):
            return  # whose quotes are then those of the texts
        assert number == len(texts)
        expected = [one_line(text) if format in ("tsv", "lines.txt") else text for text in texts]
        if format != "tsv":  # its quotes, where they pair in every field, are those of a program
            assert [(r.text or "").strip() for r in records] == [text.strip() for text in expected]


def test_as_many_rows_as_records_of_parquet_and_zip(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = ["a", None, "", 'say "x"\n', "\t"]
    parquet.write_table(pyarrow.table({"text": texts, "id": list(range(5))}), tmp_path / "t.parquet")
    for path in (tmp_path / "t.parquet", tmp_path / "no-ending"):
        if not path.exists():
            path.write_bytes((tmp_path / "t.parquet").read_bytes())
        found = list(read_texts(path, path.name))
        assert [record.text for record in found] == ["a", None, None, 'say "x"\n', None]
        assert [record.values["id"] for record in found] == list(range(5))
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("t.csv", "text,n\na,1\nb,2\n")
        archive.writestr("__MACOSX/._t.csv", "x")
    assert survey_texts(tmp_path / "t.zip", str(tmp_path / "t.zip"))[0] == 2


@pytest.mark.parametrize(
    "lines",
    [
        ['"a fine film\tpos', 'a dull film"\tneg'],
        ['"a fine film\tpos', "in between\tneg", 'a dull film"\tneg', '"x" and "y"\tpos'],
        ['"\tpos', '"\tneg'],
        ['"great" it was\tpos', 'so "so"\tneg', '"so so"\tneg'],
    ],
)
def test_stray_quotes_of_a_tsv_swallow_no_row(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("\n".join(["text\tlabel", *lines]) + "\n")
    found = list(read_texts(path, "t.tsv"))
    assert [record.text for record in found] == [line.split("\t")[0] for line in lines]
