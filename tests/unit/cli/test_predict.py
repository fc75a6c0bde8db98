"""What ``predict`` reads and writes, around a classifier that knows a text's class from its first letter."""

from __future__ import annotations

import csv
import io
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gloss_tune.cli.predict import InputFormat, predict
from gloss_tune.cli.predictions import PredictionFormat
from gloss_tune.errors import InputError

# its module; the package's own name for it is the function
command = sys.modules[predict.__module__]
CLASSES = ("a", "ü, with a comma")


class FirstLetter:
    classes = CLASSES

    def __init__(self) -> None:
        self.windows: list[int] = []

    def classify(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
        self.windows.append(len(texts))
        of_a = np.array([0.9 if text.startswith("a") else 1 / 3 for text in texts])
        return [CLASSES[int(p < 0.5)] for p in of_a], np.stack([of_a, 1 - of_a], axis=1)


@pytest.fixture
def classifier(monkeypatch: pytest.MonkeyPatch) -> FirstLetter:
    made = FirstLetter()
    monkeypatch.setattr("gloss_tune.finetune.classifier.load_classifier", lambda *_, **__: made)
    return made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    said = {"format": 1, "classes": CLASSES, "max_length": 16}
    (folder / "gloss_tune.json").write_text(json.dumps(said))
    return folder


@pytest.fixture
def run(classifier: FirstLetter, model: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command; returns what it wrote to stdout."""

    def run(file: object, **options: Any) -> str:
        predict(str(file), model, **{"device": "cpu", "threads": 1, **options})
        return capsys.readouterr().out

    return run


def test_labels_and_probabilities_come_in_the_order_of_the_texts(run: Any, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a one\nb two\na three\n")
    rows = list(csv.reader(io.StringIO(run(tmp_path / "t.txt"))))
    assert rows == [
        ["label", "probability_a", "probability_ü, with a comma"],
        ["a", "0.9", "0.1"],
        [CLASSES[1], "0.3333333", "0.6666667"],
        ["a", "0.9", "0.1"],
    ]
    lines = run(tmp_path / "t.txt", format=PredictionFormat.jsonl).splitlines()
    assert [json.loads(line)["label"] for line in lines] == ["a", CLASSES[1], "a"]
    assert json.loads(lines[1])["probabilities"] == {"a": 0.3333333, CLASSES[1]: 0.6666667}


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t"])
def test_an_empty_file_gives_no_labels(run: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert run(tmp_path / name).count("\n") == 1
    assert run(tmp_path / name, format=PredictionFormat.jsonl) == ""


def test_many_texts_are_classified_bit_by_bit(
    run: Any, classifier: FirstLetter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_WINDOW", 4)
    (tmp_path / "t.csv").write_text("n,body\n" + "".join(f"{i},{'ab'[i % 3 > 0]}\n" for i in range(10)))
    rows = list(csv.DictReader(io.StringIO(run(tmp_path / "t.csv", text_column="body"))))
    assert [row["label"] == "a" for row in rows] == [i % 3 == 0 for i in range(10)]
    assert classifier.windows == [4, 4, 2]


def test_stdin_and_a_format_that_is_named(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "a"}\n{"text": "b"}\n')))
    out = run("-", input_format=InputFormat.jsonl, format=PredictionFormat.jsonl)
    assert [json.loads(line)["label"] for line in out.splitlines()] == ["a", CLASSES[1]]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", b"text,n\n" + b"a,1\n" * 9 + b"b\n", "line 11 of .* has 1"),
        (
            "t.tsv",
            b"text\tn\n" + b"a\t1\n" * 9 + b"b\n" * 12,
            "12 records .* lines 11, 12, .*, 20, … .12 in all",
        ),
        ("t.txt", b"a\n" * 9 + b"\xff\n", "line 10 of .* is not"),
        ("t.csv", b"body\na\n", "--text-column"),
        ("t.parquet", b"PAR1", "not a readable Parquet"),
        ("missing.csv", None, "cannot be read"),
    ],
)
def test_a_bad_file_writes_nothing_not_even_what_was_good(
    run: Any, classifier: FirstLetter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], name: str, content: bytes | None, said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(command, "_WINDOW", 4)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (tmp_path / "labels.csv").write_text("kept")
    for output in (None, tmp_path / "labels.csv"):
        with pytest.raises(InputError, match=said):
            run(tmp_path / name, output=output)
    assert capsys.readouterr().out == ""
    assert (tmp_path / "labels.csv").read_text() == "kept"
    assert classifier.windows == []


def test_a_record_without_a_text_keeps_its_row_and_is_marked(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(command, "_WINDOW", 3)
    (tmp_path / "t.csv").write_text("id,text\n1,a\n2,\n\n3,b\n4,  \n5,a\n")
    with caplog.at_level("WARNING", "gloss_tune"):
        rows = list(csv.DictReader(io.StringIO(run(tmp_path / "t.csv", keep=True))))
    assert [(row["id"], row["label"]) for row in rows] == [
        ("1", "a"), ("2", ""), ("", ""), ("3", CLASSES[1]), ("4", ""), ("5", "a"),
    ]  # fmt: skip
    assert rows[1]["probability_a"] == ""
    assert "3 of 6 records have no text, so their label is empty: lines 3, 4, 6." in caplog.text
    lines = run(tmp_path / "t.csv", format=PredictionFormat.jsonl, keep_columns="id").splitlines()
    assert json.loads(lines[1]) == {"id": "2", "label": None, "probabilities": None}


def test_columns_are_kept_and_give_way_to_what_is_predicted(run: Any, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(
        '{"text": "a", "label": "gold"}\n{"text": "b", "label": "x", "more": ["ü", 1], "id": null}\n'
    )
    rows = list(csv.DictReader(io.StringIO(run(tmp_path / "t.jsonl", keep=True))))
    assert list(rows[0])[:5] == ["text", "input_label", "more", "id", "label"]
    assert [(row["input_label"], row["more"], row["id"], row["label"]) for row in rows] == [
        ("gold", "", "", "a"), ("x", '["ü", 1]', "", CLASSES[1]),
    ]  # fmt: skip
    lines = [
        json.loads(line)
        for line in run(tmp_path / "t.jsonl", keep=True, format=PredictionFormat.jsonl).splitlines()
    ]
    assert [line["more"] for line in lines] == [None, ["ü", 1]]
    assert lines[0]["label"] == "a"


def test_columns_of_a_stream_are_kept(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfei\0d\0,\0t\0e\0x\0t\0\n\0007\0,\0a\0\n\0"))
    )
    assert run("-", keep=True).splitlines()[0].startswith("id,text,label,")


def test_what_is_to_be_kept_is_said_in_one_way(run: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,text\n1,a\n")
    with pytest.raises(InputError, match="give one of the two"):
        run(tmp_path / "t.csv", keep=True, keep_columns="id")
    with pytest.raises(InputError, match="no column 'name'; it has 'id', 'text'"):
        run(tmp_path / "t.csv", keep_columns="name")


def test_how_a_file_is_read_can_be_said(run: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("1;b\xe9\n2;a\n".encode("latin-1"))
    out = run(
        tmp_path / "t.csv", separator=";", no_header=True, encoding="cp1252", text_column="label", keep=True
    )
    assert [row["label"] for row in csv.DictReader(io.StringIO(out.replace("text,input_label", "n,of")))] == [
        CLASSES[1],
        "a",
    ]


def test_a_file_is_written_whole(run: Any, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a\nb\n")
    assert run(tmp_path / "t.txt", output=tmp_path / "labels.csv") == ""
    assert (tmp_path / "labels.csv").read_text(encoding="utf-8") == run(tmp_path / "t.txt")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_removes_what_is_half_written(
    run: Any, classifier: FirstLetter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: int, code: int
) -> None:
    (tmp_path / "t.txt").write_text("a\nb\n")
    before = signal.getsignal(signum)
    monkeypatch.setattr(classifier, "classify", lambda texts: signal.raise_signal(signum))
    with pytest.raises(SystemExit) as leaving:
        run(tmp_path / "t.txt", output=tmp_path / "labels.csv")
    assert leaving.value.code == code
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "t.txt"]
    assert signal.getsignal(signum) is before


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'gloss-tune retrain' wrote"):
        predict("-", tmp_path)
