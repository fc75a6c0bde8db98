"""Making a study, finding it again, and refusing one that differs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gloss_tune.encoder import ResolvedEncoder
from gloss_tune.errors import DataError, EncoderError, InputError, StudyMismatchError
from gloss_tune.spec.build import build_spec
from gloss_tune.spec.spec import StudySpec
from gloss_tune.study.create import create
from gloss_tune.study.study import FORMAT, check_name, open_study
from gloss_tune.workers.artifacts.store import artifacts_folder
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.runs import RealRuns
from tests.integration.studies import contents, join, make


def spec_of(**layer: Any) -> StudySpec:
    return build_spec({"dataset": "mr", "rehearse": True, "trials": 3}, layer)


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """A data set of the user's own."""
    folder = tmp_path / "reviews"
    folder.mkdir()
    lines = [
        f"a {word} film number {i},{label}"
        for i in range(10)
        for word, label in (("good", "pos"), ("bad", "neg"))
    ]
    for split, part in (("train", lines[:14]), ("val", lines[14:])):
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *part]) + "\n")
    return folder


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The fingerprint under which every encoder is found; nothing is loaded."""
    found = {"fingerprint": "2:f1"}

    def resolve(name: str, **_: object) -> ResolvedEncoder:
        return ResolvedEncoder(name, Path("/nowhere"), found["fingerprint"])

    monkeypatch.setattr("gloss_tune.study.encoder.resolve_encoder", resolve)
    monkeypatch.setattr("gloss_tune.study.create.try_encoder", lambda *_: "not tried")
    return found


def test_name_and_storage_are_all_that_a_worker_needs(storage_url: str) -> None:
    spec = spec_of(
        sampler="qmc", pruner="none", seed=7, lease=12, first_trials=["published", {"mask_ratio": 0.2}]
    )
    made = create(spec, storage_url, "mine")
    assert made.is_new
    found = open_study(storage_url)
    assert (found.name, found.spec) == ("mine", spec)
    assert found.dataset["name"] == "mr"
    assert found.encoder == {"name": spec.model, "fingerprint": None}
    assert found.versions["optuna"].startswith(("4.", "5."))


def test_repeating_a_creation_changes_nothing(storage_url: str) -> None:
    assert create(spec_of(), storage_url, "mine").is_new
    before = contents(storage_url)
    assert not create(spec_of(), storage_url, "mine").is_new
    assert contents(storage_url) == before


@pytest.mark.parametrize(
    ("layer", "field"),
    [
        ({"trials": 4}, "trials"),
        ({"seed": 1}, "seed"),
        ({"metric": "val_accuracy"}, "metric"),
        ({"sampler": "random"}, "sampler"),
        ({"pruner": "none"}, "pruner"),
        ({"lease": 30}, "lease"),
        ({"train": {"epochs": 3}}, "train.epochs"),
        ({"space": {"temperature": {"high": 1.5}}}, "space.temperature.high"),
        ({"space": {"gloss_weight": {}}}, "space.gloss_weight"),
        ({"space": {"temperature": 0.5}}, "space.temperature"),
        ({"loss": "ce"}, "loss"),
        ({"dataset": "r8"}, "dataset"),
        ({"model": "another/encoder"}, "model"),
        ({"max_train_docs": 100}, "max_train_docs"),
        ({"first_trials": ["published"]}, "first_trials"),
    ],
)
def test_another_specification_is_refused_by_field(tmp_path: Path, layer: dict[str, Any], field: str) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    create(spec_of(), url, "mine")
    before = contents(url)
    with pytest.raises(StudyMismatchError) as caught:
        create(spec_of(**layer), url, "mine")
    assert [line for line in caught.value.differences if line.startswith(f"{field}:")], (
        caught.value.differences
    )
    assert "--study" in str(caught.value)
    assert contents(url) == before


@pytest.mark.parametrize(
    "name", ["", " ", "a/b", "../up", ".hidden", "-x", "a b", "ü", "a\n", "x" * 201, "a'b", "a\0b"]
)
def test_a_name_that_could_not_name_a_file_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        check_name(name)
    if name:
        with pytest.raises(InputError):
            create(spec_of(), f"sqlite:///{tmp_path}/study.db", name)
        assert list(tmp_path.iterdir()) == []


def test_a_study_of_another_release_is_refused(storage_url: str) -> None:
    opened = make(storage_url)
    opened.storage.set_study_user_attr(opened.study_id, "gloss_tune:format", FORMAT + 1)
    with pytest.raises(StudyMismatchError, match="format"):
        open_study(storage_url)


def test_a_study_whose_specification_was_tampered_with_is_refused(storage_url: str) -> None:
    opened = make(storage_url)
    stored = {**opened.spec.to_dict(), "loss": "hinge"}
    opened.storage.set_study_user_attr(opened.study_id, "gloss_tune:spec", stored)
    with pytest.raises(InputError, match="loss"):
        open_study(storage_url)


# ── data and encoder ──


def test_a_real_study_records_its_data_and_encoder(
    storage_url: str, reviews: Path, encoder: dict[str, str]
) -> None:
    spec = build_spec({"dataset": str(reviews), "trials": 2})
    opened = create(spec, storage_url).study
    assert opened.name == "reviews-all-minilm-l6-v2-gloss"
    assert (opened.dataset["n_train"], opened.dataset["n_val"], opened.dataset["n_classes"]) == (14, 6, 2)
    assert len(opened.dataset["fingerprint"]) >= 16
    assert opened.encoder["fingerprint"] == encoder["fingerprint"]


def test_changed_data_are_refused_by_creation_and_by_workers(
    storage_url: str, reviews: Path, encoder: dict[str, str]
) -> None:
    spec = build_spec({"dataset": str(reviews), "trials": 2})
    create(spec, storage_url)
    RealRuns(join(storage_url), WorkerOptions(device="cpu"))
    before = contents(storage_url)
    text = (reviews / "train.csv").read_text()
    (reviews / "train.csv").write_text(text.replace("a good film number 0", "a fine film number 0"))
    for attempt in (
        lambda: create(spec, storage_url),
        lambda: RealRuns(join(storage_url), WorkerOptions(device="cpu")),
    ):
        with pytest.raises(StudyMismatchError) as caught:
            attempt()
        assert [line.split(":")[0] for line in caught.value.differences] == ["dataset.fingerprint"]
    assert contents(storage_url) == before


def test_another_encoder_under_the_same_name_is_refused(
    storage_url: str, reviews: Path, encoder: dict[str, str]
) -> None:
    spec = build_spec({"dataset": str(reviews), "trials": 2})
    create(spec, storage_url)
    encoder["fingerprint"] = "2:f2"
    for attempt in (
        lambda: create(spec, storage_url),
        lambda: RealRuns(join(storage_url), WorkerOptions(device="cpu")),
    ):
        with pytest.raises(StudyMismatchError) as caught:
            attempt()
        assert caught.value.differences == ("encoder.fingerprint: the study has '2:f1', got '2:f2'",)


def test_missing_data_or_encoder_leave_no_study(
    tmp_path: Path, reviews: Path, encoder: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    with pytest.raises(DataError):
        create(build_spec({"dataset": str(tmp_path / "missing.csv")}), url)

    def missing(name: str, **_: object) -> ResolvedEncoder:
        raise EncoderError(f"no encoder {name!r}")

    monkeypatch.setattr("gloss_tune.study.encoder.resolve_encoder", missing)
    with pytest.raises(EncoderError):
        create(build_spec({"dataset": str(reviews)}), url)
    assert not (tmp_path / "study.db").exists()


def test_a_relative_data_set_and_encoder_are_found_from_any_folder(
    tmp_path: Path, reviews: Path, encoder: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    (tmp_path / "encoder").mkdir()
    monkeypatch.chdir(tmp_path)
    create(build_spec({"dataset": "reviews", "model": "./encoder", "trials": 2}), url)
    create(build_spec({"dataset": "./reviews/", "model": "encoder", "trials": 2}), url)
    monkeypatch.chdir("/")
    opened = join(url)
    assert Path(opened.spec.dataset) == reviews
    assert Path(opened.spec.model) == tmp_path / "encoder"
    RealRuns(opened, WorkerOptions(device="cpu"))


def test_the_users_data_may_lie_elsewhere_on_another_machine(
    storage_url: str, reviews: Path, encoder: dict[str, str], tmp_path: Path
) -> None:
    create(build_spec({"dataset": str(reviews), "trials": 2}), storage_url)
    (tmp_path / "mounted").mkdir()
    reviews.rename(tmp_path / "mounted" / "reviews")
    RealRuns(join(storage_url), WorkerOptions(device="cpu", data_dir=tmp_path / "mounted"))
    with pytest.raises(DataError):
        RealRuns(join(storage_url), WorkerOptions(device="cpu"))


def test_a_device_that_is_not_there_is_named(
    storage_url: str, reviews: Path, encoder: dict[str, str]
) -> None:
    create(build_spec({"dataset": str(reviews), "trials": 2}), storage_url)
    for device in ("cuda:63", "abacus", ""):
        with pytest.raises(InputError, match="auto, cpu"):
            RealRuns(join(storage_url), WorkerOptions(device=device))


def test_a_rehearsal_needs_no_data(storage_url: str) -> None:
    opened = make(storage_url)
    assert opened.dataset == {
        "name": "mr",
        "fingerprint": None,
        "n_train": None,
        "n_val": None,
        "n_classes": None,
    }


def test_a_rehearsal_repeats_where_the_data_are(storage_url: str, tmp_path: Path) -> None:
    """A cluster's set-up is tried from machines with and without the data: it is the same rehearsal."""
    spec = spec_of()
    create(spec, storage_url, "mine")
    folder = tmp_path / "data" / "mr"
    folder.mkdir(parents=True)
    for split in ("train", "val", "test"):
        (folder / f"{split}.csv").write_text(
            "text,label\n" + "".join(f"{split} {i},{i % 2}\n" for i in range(20))
        )
    try:
        assert not create(spec, storage_url, "mine", data_dir=tmp_path / "data").is_new
    except DataError:
        pytest.skip("this stand-in is not accepted as mr")


# ── artifacts ──


def test_artifacts_lie_beside_the_database_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert artifacts_folder("sqlite:////data/s.db") == Path("/data/gloss-tune-artifacts")
    assert artifacts_folder("sqlite:///s.db") == Path("gloss-tune-artifacts")
    assert artifacts_folder(" sqlite:///s.db\n") == Path("gloss-tune-artifacts")
    assert artifacts_folder("postgresql://me@host/db") == Path("gloss-tune-artifacts")
    monkeypatch.setenv("GLOSS_TUNE_ARTIFACTS", "/from/environment")
    assert artifacts_folder("sqlite:///s.db") == Path("/from/environment")
    assert artifacts_folder("sqlite:///s.db", Path("/chosen")) == Path("/chosen")


def test_an_open_study_is_frozen(storage_url: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make(storage_url).name = "other"  # type: ignore[misc]
