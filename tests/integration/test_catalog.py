"""What a storage holds: studies listed, copied, renamed and deleted, each with its confirmation and its files."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from optuna.artifacts import upload_artifact

from gloss_tune.catalog.changes import copy_study, delete_study, plan_deletion, rename_study
from gloss_tune.catalog.leftovers import prune_files
from gloss_tune.catalog.listing import list_studies
from gloss_tune.confirm.confirmation import confirm, confirmation_of, confirmed_best
from gloss_tune.confirm.export import export
from gloss_tune.doctor.study import check_leftovers
from gloss_tune.errors import GlossTuneError, InputError
from gloss_tune.queue.claims import claim
from gloss_tune.queue.heartbeats import WorkerEntry, register_worker
from gloss_tune.signals import StopFlag
from gloss_tune.study.extend import extend
from gloss_tune.study.status import status, trials
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.artifacts.store import artifact_store
from gloss_tune.workers.worker import WorkerOptions, work
from tests.integration.studies import contents, join, make

pytestmark = [pytest.mark.timeout(60), pytest.mark.prepared]


@pytest.fixture(autouse=True)
def known_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here each study has files of its own, as in life."""
    drawn = iter(f"{number:08x}" for number in range(1, 100))
    monkeypatch.setattr("gloss_tune.study.study.new_identifier", lambda: next(drawn))
    monkeypatch.setattr("gloss_tune.catalog.changes.new_identifier", lambda: next(drawn))


def finish(opened: OpenStudy, artifacts: Path | None = None) -> None:
    work(opened, WorkerOptions(artifacts=artifacts or Path("gloss-tune-artifacts")), StopFlag())


def confirmed(url: str, name: str = "first") -> OpenStudy:
    opened = make(url, name, trials=3, pruner="none", train={"epochs": 2})
    finish(opened)
    finish(confirm(opened, 2, 2).study)
    return join(url, name)


def at_work(opened: OpenStudy) -> None:
    register_worker(opened.storage, opened.study_id, WorkerEntry("w1", "elsewhere", 7, "cpu"))


def files_of(opened: OpenStudy, folder: Path) -> list[Path]:
    """What a study may leave in the artifacts folder, of every kind."""
    made = [
        folder / "checkpoints" / opened.files / "trial-0.attempt-1.ckpt",
        folder / "models" / opened.files / "trial-1" / "model.safetensors",
        folder / "tracking" / opened.files / "trial-0000" / "events",
        folder / "final" / f"{opened.files}-trial-1-seeds-3" / "gloss_tune.json",
        folder / "launch" / opened.files / "url",  # with the storage's password
        folder / "hosts" / opened.name / socket.gethostname(),
    ]
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 100)
    attached = upload_artifact(
        artifact_store=artifact_store(folder), file_path=str(made[0]), study_or_trial=opened.optuna_study()
    )
    return [*made, folder / attached]


def test_each_study_has_a_line_and_its_confirmation_none(storage_url: str, tmp_path: Path) -> None:
    first = confirmed(storage_url)
    second = make(storage_url, "second", trials=2, loss="ce")
    path = tmp_path / "models" / second.files / "trial-0" / "weights"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 500)
    rows = {row["name"]: row for row in list_studies(storage_url, tmp_path)}
    assert set(rows) == {"first", "second"}
    assert rows["first"]["state"] == "finished"
    assert rows["first"]["confirmation"] == "first.confirm"
    assert rows["first"]["best"] == status(first)["best"]["value"]
    assert rows["first"]["trials"] == status(first)["trials"]
    assert (rows["second"]["state"], rows["second"]["loss"], rows["second"]["best"]) == (
        "waiting",
        "ce",
        None,
    )
    assert (rows["first"]["bytes"], rows["second"]["bytes"]) == (0, 500)
    assert rows["first"]["created"].endswith("+00:00")
    claim(second.storage, second.study_id, "w")
    assert [row["state"] for row in list_studies(storage_url)] == ["finished", "running"]


def test_a_copy_is_the_study_again_and_grows_alone(storage_url: str) -> None:
    first = confirmed(storage_url)
    copied = copy_study(storage_url, "first", "second")
    assert copied.files != first.files
    assert trials(copied) == trials(first)
    assert status(copied)["best"] == status(first)["best"]
    winner, again = confirmed_best(copied), confirmed_best(first)
    assert winner is not None
    assert again is not None
    assert winner["study"] == "second.confirm"
    assert {**winner, "study": ""} == {**again, "study": ""}
    extend(copied, 2)
    finish(copied)
    assert len(trials(join(storage_url, "second"))) == 5
    assert len(trials(join(storage_url, "first"))) == 3
    numbers = [row["number"] for row in trials(join(storage_url, "second"))]
    assert numbers == list(range(5))


def test_what_runs_in_the_original_waits_in_the_copy(storage_url: str) -> None:
    first = make(storage_url, "first", trials=2)
    at_work(first)
    claimed = claim(first.storage, first.study_id, "w1")
    assert claimed is not None
    copied = copy_study(storage_url, "first", "second")
    now = status(copied)
    assert (now["trials"]["waiting"], now["trials"]["running"], now["workers"]) == (2, 0, [])
    finish(copied)
    assert status(join(storage_url, "second"))["trials"]["complete"] == 2
    assert status(first)["trials"]["running"] == 1


def test_a_renamed_study_keeps_its_trials_confirmation_and_files(storage_url: str, tmp_path: Path) -> None:
    first = confirmed(storage_url)
    before = trials(first)
    renamed = rename_study(storage_url, "first", "second")
    assert (renamed.files, trials(renamed)) == (first.files, before)
    assert export(renamed)["confirmed"]["study"] == "second.confirm"
    child = confirmation_of(renamed)
    assert child is not None
    assert child.confirms is not None
    assert child.confirms["study"] == "second"
    assert [row["name"] for row in list_studies(storage_url)] == ["second"]
    with pytest.raises(GlossTuneError, match=r"'first' is no longer .* renamed"):
        first.check_still_there()
    again = rename_study(storage_url, "second", "third")
    assert again.files == first.files
    assert confirm(again, 2, 3).added == 2  # the confirmation is found and goes on


@pytest.mark.parametrize("change", [copy_study, rename_study])
@pytest.mark.parametrize("name", ["second", "first", "a/b", "../up", "", "third"])
def test_a_name_that_cannot_be_given_is_refused(url: str, change, name: str) -> None:
    confirmed(url, "first")
    make(url, "second")
    make(url, "third.confirm")
    before = contents(url)
    with pytest.raises(InputError):
        change(url, "first", name)
    assert contents(url) == before


def test_one_name_is_given_once(storage_url: str) -> None:
    make(storage_url, "first", trials=2)

    def copied(_: int) -> bool:
        try:
            copy_study(storage_url, "first", "second")
        except InputError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(copied, range(6))) == 1
    assert [row["name"] for row in list_studies(storage_url)] == ["first", "second"]


def test_a_deleted_study_takes_its_confirmation_and_files_along_and_nothing_else(
    storage_url: str, tmp_path: Path
) -> None:
    empty = contents(storage_url)
    first = confirmed(storage_url)
    files = files_of(first, tmp_path)
    child = confirmation_of(first)
    assert child is not None
    files += files_of(child, tmp_path)
    planned = plan_deletion(storage_url, "first", tmp_path)
    assert all(path.exists() for path in files)
    assert (planned.names, planned.trials) == (("first", "first.confirm"), 7)
    second = make(storage_url, "second")
    kept = files_of(second, tmp_path)
    delete_study(storage_url, "first", tmp_path)
    assert [path for path in files if path.exists()] == []
    assert all(path.exists() for path in kept)
    assert [row["name"] for row in list_studies(storage_url)] == ["second"]
    delete_study(storage_url, "second", tmp_path)
    left = {table: rows for table, rows in contents(storage_url).items() if rows}
    assert left == {table: rows for table, rows in empty.items() if rows}


@pytest.mark.parametrize("act", ["rename", "delete"])
def test_nothing_is_taken_from_under_a_live_worker_unless_forced(url: str, tmp_path: Path, act: str) -> None:
    opened = confirmed(url)
    child = confirmation_of(opened)
    assert child is not None

    def change(force: bool) -> None:
        if act == "rename":
            rename_study(url, "first", "second", force=force)
        else:
            delete_study(url, "first", tmp_path, force=force)

    at_work(child)  # of the confirmation: it goes with its study
    before = contents(url)
    with pytest.raises(InputError, match=r"1 worker at work on it, elsewhere \(pid 7\).*--force"):
        change(False)
    assert contents(url) == before
    change(True)
    with pytest.raises(GlossTuneError, match="no longer"):
        opened.check_still_there()


def test_an_attachments_name_leads_out_of_no_folder(url: str, tmp_path: Path) -> None:
    folder, outside = tmp_path / "artifacts", tmp_path / "precious"
    outside.write_text("x")
    opened = make(url)
    opened.storage.set_study_system_attr(opened.study_id, "artifacts:../precious", "{}")
    delete_study(url, "study", folder)
    assert outside.exists()


def test_what_optunas_own_deletion_leaves_is_found_and_removed(url: str, tmp_path: Path) -> None:
    gone, kept = make(url, "gone"), make(url, "kept")
    left, mine = files_of(gone, tmp_path), files_of(kept, tmp_path)
    assert check_leftovers(tmp_path, kept).state == "ok"
    gone.storage.delete_study(gone.study_id)
    finding = check_leftovers(tmp_path, kept)
    assert finding.state == "warning"
    assert "5 files and folders" in finding.found
    assert "studies prune" in (finding.advice or "")
    found, taken = prune_files(url, tmp_path, remove=False)
    assert (len(found), taken) == (5, 500)
    assert all(path.exists() for path in left)
    prune_files(url, tmp_path, remove=True)
    assert [path.exists() for path in left[:5]] == [False] * 5
    assert all(path.exists() for path in mine)
    assert prune_files(url, tmp_path, remove=True) == ((), 0)
