"""What create says of the data before a study is made, and that studies made before go on with theirs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gloss_tune.data import load_dataset, splits
from gloss_tune.errors import DataError, StudyMismatchError
from gloss_tune.spec.build import build_spec
from gloss_tune.study import account
from gloss_tune.study.create import create, resolve_data
from gloss_tune.study.inputs import describe, study_dataset


def table(path: Path, **counts: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{label} text {n},{label}" for label, number in counts.items() for n in range(number)]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


def spec_of(path: object, **layer: Any) -> Any:
    return build_spec({"dataset": str(path), "trials": 2, "rehearse": True, **layer})


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("gloss_tune.logging.logger.propagate", True)
    caplog.set_level("INFO", "gloss_tune")
    return lambda: caplog.text


def test_create_says_what_it_read(tmp_path: Path, said: Any) -> None:
    table(tmp_path / "mine" / "train.csv", pos=300, neg=30)
    table(tmp_path / "mine" / "test.csv", pos=3)
    resolve_data(spec_of(tmp_path / "mine"), None)
    assert (
        "Data set mine: 297 documents to train (train.csv), 33 to validate (held out of train), 3 to test (test.csv); "
        "2 classes, from 27 documents in train ('neg') to 270 ('pos'); text from column 'text', label from 'label'."
    ) in said()


@pytest.mark.parametrize(
    ("counts", "layer", "warning"),
    [
        ({"a": 20, "b": 20, "c": 1}, {}, "1 class has a single document in train: 'c'"),
        ({"a": 20, "b": 20, "c": 1}, {}, "1 class has no document in val: 'c'"),
        ({"a": 2, "b": 2}, {}, "G-Loss is exactly 0"),
        ({"a": 20, "b": 20, "c": 5}, {"max_train_docs": 2}, "1 class of 3 lost all training documents"),
        ({"a": 20, "NULL": 20}, {}, "A class is called 'NULL' (18 documents)"),
        ({"a": 20, "nan": 20}, {}, "if this stands for no label"),
        ({"a": 20, "label": 2, "b": 4}, {}, "A class is called 'label', as its column is"),
        ({"Pos": 20, "pos": 20}, {}, "differ in capitals or spaces only"),
        ({"a": 20, "b": 20}, {"train": {"batch_size": 64}}, "Batches of 64 are larger than the 36 training documents"),
    ],
)  # fmt: skip
def test_what_is_odd_is_told(
    tmp_path: Path, said: Any, counts: dict[str, int], layer: dict[str, Any], warning: str
) -> None:
    resolve_data(spec_of(table(tmp_path / "d.csv", **counts), **layer), None)
    assert warning in said()


def test_a_text_under_several_labels_is_told(tmp_path: Path, said: Any) -> None:
    path = table(tmp_path / "d.csv", a=20, b=20)
    path.write_text(path.read_text() + "both,a\nboth,b\nboth,b\n")
    resolve_data(spec_of(path), None)
    assert "1 text of train has several labels (3 documents)" in said()


def test_nothing_is_odd_about_good_data(tmp_path: Path, caplog: pytest.LogCaptureFixture, said: Any) -> None:
    resolve_data(spec_of(table(tmp_path / "d.csv", a=200, b=150)), None)
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_val_has_each_class_that_has_two(tmp_path: Path) -> None:
    found = load_dataset(table(tmp_path / "d.csv", pos=58, neg=2))
    assert sorted(found.classes[label] for label in found.val.labels) == ["neg", *["pos"] * 5]


def test_no_study_is_judged_by_one_class(tmp_path: Path, said: Any) -> None:
    path = table(tmp_path / "d.csv", pos=58, neg=1)
    with pytest.raises(DataError, match=r"needs two classes in val, .* one class only, 'pos'"):
        resolve_data(spec_of(path, rehearse=False), None)
    resolve_data(spec_of(path, rehearse=False, metric="val_accuracy"), None)
    assert "of one class only" in said()


# ── a held-out val of sensible size ──


def test_a_large_held_out_val_is_sampled_and_the_study_knows(
    tmp_path: Path, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "MOST_HELD_OUT", 20)
    path = table(tmp_path / "d.csv", a=400, b=100)
    url = f"sqlite:///{tmp_path}/study.db"
    opened = create(spec_of(path), url).study
    assert opened.spec.max_val_docs == 20
    assert (opened.dataset["n_train"], opened.dataset["n_val"]) == (450, 20)
    assert "of the 50 documents held out of train, trials are judged by a stratified sample of 20" in said()
    worked_on = study_dataset(opened.spec, None, made_with=opened.dataset)
    assert describe(worked_on) == opened.dataset
    assert sum(worked_on.val.labels) == 4
    assert not create(spec_of(path), url).is_new
    with pytest.raises(StudyMismatchError, match="max_val_docs"):
        create(spec_of(path, max_val_docs=30), url)


def test_a_val_that_is_given_and_one_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "MOST_HELD_OUT", 20)
    table(tmp_path / "mine" / "train.csv", a=40, b=10)
    table(tmp_path / "mine" / "val.csv", a=40, b=10)
    spec, dataset = resolve_data(spec_of(tmp_path / "mine"), None)
    assert (spec.max_val_docs, len(dataset.val)) == (None, 50)
    spec, dataset = resolve_data(spec_of(tmp_path / "mine", max_val_docs=10), None)
    assert (spec.max_val_docs, len(dataset.val)) == (10, 10)


def test_a_study_of_before_keeps_its_whole_val(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "d.csv", a=400, b=100)
    url = f"sqlite:///{tmp_path}/study.db"
    made = create(spec_of(path), url).study  # as small as this, without a number, as release 0.1 made all
    stored = {key: value for key, value in made.spec.to_dict().items() if key != "max_val_docs"}
    made.storage.set_study_user_attr(made.study_id, "gloss_tune:spec", stored)
    monkeypatch.setattr(account, "MOST_HELD_OUT", 20)
    found = create(spec_of(path), url)
    assert (found.is_new, found.study.spec.max_val_docs) == (False, None)


# ── studies made by release 0.1 ──


@pytest.mark.parametrize("kind", ["rare class", "labels with a point", "dev.csv"])
def test_data_of_release_0_1_are_read_by_its_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    counts = {"1.0": 40, "2.0": 30} if kind == "labels with a point" else {"a": 58, "b": 2}
    path = table(tmp_path / "mine" / "train.csv", **counts)
    if kind == "dev.csv":
        table(tmp_path / "mine" / "dev.csv", a=3, b=3)
    url = f"sqlite:///{tmp_path}/study.db"
    spec = spec_of(path.parent)
    before = load_dataset(path.parent, as_before=True)
    assert before.fingerprint != load_dataset(path.parent).fingerprint
    opened = create(spec, url).study
    opened.storage.set_study_user_attr(opened.study_id, "gloss_tune:dataset", describe(before))
    assert study_dataset(spec, None, made_with=describe(before)).fingerprint == before.fingerprint
    assert not create(spec, url).is_new


def test_the_split_of_release_0_1(tmp_path: Path) -> None:
    documents = [
        (f"{label} {n}", label) for label, number in {"a": 58, "b": 2}.items() for n in range(number)
    ]
    _, val = splits.hold_out(documents, 0, "mine", each_class=False)
    assert {label for _, label in val} == {"a"}


# ── data that moved ──


def test_only_a_study_looks_for_its_file_elsewhere(tmp_path: Path) -> None:
    path = table(tmp_path / "here" / "d.csv", a=20, b=20)
    spec = spec_of(path)
    made = describe(study_dataset(spec, None))
    (tmp_path / "there").mkdir()
    path.rename(tmp_path / "there" / "d.csv")
    found = study_dataset(spec, tmp_path / "there", made_with=made)
    assert describe(found) == made
    with pytest.raises(DataError) as caught:
        study_dataset(spec, tmp_path / "there")
    assert str(path) in str(caught.value)
    (tmp_path / "there" / "d.csv").unlink()
    with pytest.raises(DataError) as caught:
        study_dataset(spec, tmp_path / "there", made_with=made)
    assert str(path) in str(caught.value)


# ── the command line ──


def test_dry_run_reads_the_data(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from gloss_tune.cli import app

    table(tmp_path / "d.csv", a=20, b=20)
    (tmp_path / "s.csv").write_text(
        "title;body;kind\n" + "".join(f"t{n};b{n};{n % 2}.0\n" for n in range(40))
    )
    run = lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))  # noqa: E731
    done = run("create", "--dataset", tmp_path / "d.csv", "--dry-run", "--rehearse", "--format", "json")
    assert json.loads(done.stdout)["max_val_docs"] is None
    assert "36 documents to train" in done.stderr
    wrong = run("create", "--dataset", tmp_path / "s.csv", "--dry-run", "--rehearse")
    assert isinstance(wrong.exception, DataError)
    how = ["--text-column", "title,body", "--label-column", "kind", "--separator", ";"]
    done = run("create", "--dataset", tmp_path / "s.csv", *how, "--dry-run", "--rehearse", "--format", "json")
    assert json.loads(done.stdout)["separator"] == ";"
    assert "text from columns 'title', 'body', label from 'kind'" in done.stderr
    shown = run("datasets", "show", tmp_path / "s.csv", *how, "--format", "json")
    assert json.loads(shown.stdout)["classes"] == {"0": {"train": 18, "val": 2}, "1": {"train": 18, "val": 2}}
    assert list(tmp_path.glob("*.db")) == []


def test_a_pipe_is_refused_by_the_name_it_was_given(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"link' is a pipe or a device"):
        create(spec_of(tmp_path / "link"), f"sqlite:///{tmp_path}/study.db")
    assert not (tmp_path / "study.db").exists()
