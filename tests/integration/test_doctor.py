"""What ``doctor`` finds on machines that are in order, and on those that are not."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import torch

from gloss_tune.data import load_dataset
from gloss_tune.doctor import machine as machine_checks
from gloss_tune.doctor import smoke
from gloss_tune.doctor import storage as storage_checks
from gloss_tune.doctor import study as study_checks
from gloss_tune.doctor.checklist import Finding
from gloss_tune.doctor.examination import Diagnosis, examine
from gloss_tune.doctor.storage import check_clock, check_storage
from gloss_tune.encoder import resolve_encoder
from gloss_tune.errors import DeviceMemoryError, StorageError
from gloss_tune.finetune.checkpoint import save_checkpoint
from gloss_tune.finetune.session import Session
from gloss_tune.processes import this_process
from gloss_tune.queue.claims import claim
from gloss_tune.queue.heartbeats import WorkerEntry, register_worker
from gloss_tune.signals import StopFlag
from gloss_tune.spec.build import build_spec
from gloss_tune.storage import sqlite_file
from gloss_tune.study.create import create
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.artifacts.store import artifacts_folder, has_left_marker, leave_marker, remove_marker
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.worker import work
from tests.integration.studies import age, contents, make, silence
from tests.servers import PostgresServer
from tests.unit.finetune.tiny import write_encoder

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def real(url: str, tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> OpenStudy:
    """A study that trains: 40 documents, an encoder of 40,000 weights, and a cache of its own."""
    monkeypatch.setenv("GLOSS_TUNE_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "words"
    data.mkdir()
    for split, count in (("train", 40), ("val", 12)):
        rows = [
            f"{'ab'[i % 2]}{i % 6} c{i % 5} d{i % 6} e{i % 4} f{i // 6},{'ab'[i % 2]}" for i in range(count)
        ]
        (data / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    train = {"batch_size": 8, "max_length": 16, "epochs": 2}
    spec = build_spec({"dataset": str(data), "model": str(encoder), "trials": 3, "train": train})
    return create(spec, url, "real").study


def diagnose(url: str, name: str | None = None, **options: Any) -> Diagnosis:
    return examine(url, name, worker_options(url, **options))


def worker_options(url: str, **options: Any) -> WorkerOptions:
    return WorkerOptions(**{"device": "cpu", "threads": 1, "artifacts": artifacts_folder(url), **options})


def line(diagnosis: Diagnosis, name: str) -> Finding[Any]:
    (check,) = [check for check in diagnosis.checks if check.name == name]
    return check


def states(diagnosis: Diagnosis) -> dict[str, str]:
    # how busy this machine is, and how full, is not for a test to say
    return {c.name: c.state for c in diagnosis.checks if c.name not in ("cores", "device", "disk")}


def failed(diagnosis: Diagnosis, name: str) -> Finding[Any]:
    """The line of the one check that failed."""
    assert not diagnosis.ok
    assert [check.name for check in diagnosis.checks if check.state == "failed"] == [name]
    return line(diagnosis, name)


def told(finding: Finding[Any]) -> str:
    """The whole line: what was found, and how to mend it."""
    return f"{finding.found} → {finding.advice or ''}"


def traces(folder: Path) -> set[str]:
    """All files but those that SQLite keeps while someone is connected."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.name.endswith(("-wal", "-shm"))}


# ── all is well ──


def test_a_healthy_rehearsal(storage_url: str, tmp_path: Path) -> None:
    make(storage_url, trials=5, rehearse_seconds=4.0)
    before, files = contents(storage_url), traces(tmp_path)
    diagnosis = diagnose(storage_url, artifacts=tmp_path / "artifacts")
    assert diagnosis.ok
    not_needed = dict.fromkeys(("data", "tokens", "encoder"), "skipped")
    there = ("storage", "schema", "clock", "study", "versions", "workers", "artifacts", "leftovers", "trial")
    assert states(diagnosis) == {**dict.fromkeys(there, "ok"), **not_needed}
    assert line(diagnosis, "device").state == "skipped"
    estimate = diagnosis.estimate
    assert estimate is not None
    assert (estimate.seconds_per_trial, estimate.seconds_to_go, estimate.workers) == (4.0, 20.0, 1)
    assert contents(storage_url) == before
    assert traces(tmp_path) == files


def test_a_healthy_real_study(real: OpenStudy, url: str, tmp_path: Path) -> None:
    before, files, threads = contents(url), traces(tmp_path), torch.get_num_threads()
    seen: list[Finding[Any]] = []
    diagnosis = examine(url, None, worker_options(url), seen.append)
    assert diagnosis.ok, diagnosis.checks
    assert set(states(diagnosis).values()) == {"ok"}
    assert tuple(seen) == diagnosis.checks
    assert real.dataset["fingerprint"] in line(diagnosis, "data").found
    assert "a step of 8 documents" in line(diagnosis, "trial").found
    assert "GFLOP/s of its matrix products here: float32" in line(diagnosis, "trial").found
    assert "1 thread in " in line(diagnosis, "trial").found
    estimate = diagnosis.estimate
    assert estimate is not None
    assert estimate.seconds_to_go == pytest.approx(3 * estimate.seconds_per_trial, abs=0.01)
    assert contents(url) == before
    assert all(path.startswith("cache") for path in traces(tmp_path) - files), "but for tokens, no trace"
    assert torch.get_num_threads() == threads


def test_the_estimate_is_what_a_trial_takes(real: OpenStudy, encoder: Path, tmp_path: Path) -> None:
    """Against a whole run of the same configuration; loosely, since other tests may run beside this one."""
    dataset = load_dataset(str(tmp_path / "words"))
    spec = real.spec.model_copy(update={"train": dataclasses.replace(real.spec.train, epochs=6, patience=6)})
    resolved = resolve_encoder(str(encoder))
    measured = smoke.measure(spec, dataset, resolved, "cpu")
    run = Session(dataset, resolved, "cpu", 16).run(smoke.middle_config(spec))
    start = time.perf_counter()
    assert len(list(run.epochs())) == 6
    took = time.perf_counter() - start
    assert took / 8 < measured.trial_seconds < took * 8


def test_before_there_is_a_study(storage_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    diagnosis = diagnose(storage_url)
    assert diagnosis.ok
    found = states(diagnosis)
    assert (found["storage"], found["clock"], found["artifacts"]) == ("ok", "ok", "ok")
    assert line(diagnosis, "device").state != "skipped"
    assert {name for name, state in found.items() if state == "skipped"} == {
        "study", "versions", "workers", "data", "tokens", "encoder", "leftovers", "trial",
    }  # fmt: skip
    assert "create" in (line(diagnosis, "study").advice or "")
    assert line(diagnosis, "trial").found == line(diagnosis, "study").found == "there is no study yet"
    assert diagnosis.estimate is None
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_stays_empty(url: str, tmp_path: Path) -> None:
    (tmp_path / "study.db").touch()
    assert diagnose(url).ok
    assert [(p.name, p.stat().st_size) for p in tmp_path.iterdir()] == [("study.db", 0)]


def test_what_it_says_is_fit_for_json(url: str) -> None:
    make(url)
    told = json.loads(json.dumps(diagnose(url).to_dict()))
    assert told.keys() == {"ok", "checks", "estimate"}
    assert told["checks"][0].keys() == {"name", "state", "found", "advice"}
    assert told["estimate"].keys() == {"seconds_per_trial", "seconds_to_go", "workers"}


# ── the storage ──


@pytest.mark.parametrize("url", ["", "mysql://u:geheim@h/d", "sqlite://", "no url"])
def test_a_malformed_url_is_refused(url: str) -> None:
    with pytest.raises(StorageError) as caught:
        diagnose(url)
    assert "geheim" not in str(caught.value)


def test_a_study_that_is_gone(url: str, tmp_path: Path) -> None:
    assert "does not exist" in failed(diagnose(url, "study"), "study").found
    make(url)
    found = failed(diagnose(url, "other"), "study")
    assert found.found.endswith("; it holds study; name one by --study")
    assert found.advice is None, "the second half of a message is not always advice"
    make(url, "second")
    assert "--study" in told(failed(diagnose(url), "study"))


def write_foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('d41d8cd98f00')")
    connection.close()


@pytest.mark.parametrize(
    ("break_it", "name", "words"),
    [
        (write_foreign, "schema", "another tool"),
        (lambda path: path.write_text("no database" * 100), "storage", "not an SQLite database"),
        (lambda path: path.mkdir(), "storage", "folder"),
    ],
)
def test_a_database_that_is_not_ours(
    break_it: Callable[[Path], Any], name: str, words: str, url: str, tmp_path: Path
) -> None:
    break_it(tmp_path / "study.db")
    diagnosis = diagnose(url)
    assert words in failed(diagnosis, name).found
    assert line(diagnosis, "study").state == "skipped"
    assert f"the check of {name} failed" in line(diagnosis, "trial").found


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    finding = check_storage(f"sqlite:///{tmp_path}/gone/study.db")
    assert (finding.state, finding.value) == ("failed", None)
    assert str(tmp_path / "gone") in finding.found


def test_sqlite_on_a_network_file_system(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make(url)
    for module in (storage_checks, sqlite_file):
        monkeypatch.setattr(module, "nonlocal_filesystem", lambda path: "nfs4")
    finding = check_storage(url)
    assert finding.state == "failed"
    assert "nfs4" in finding.found
    assert "Postgres" in (finding.advice or "")
    monkeypatch.setenv("GLOSS_TUNE_FORCE", "1")
    diagnosis = diagnose(url)
    assert diagnosis.ok, "a risk that was taken on purpose is no failure"
    assert line(diagnosis, "storage").state == "warning"
    assert "use is forced on nfs4" in line(diagnosis, "storage").found
    assert "one machine only" in (line(diagnosis, "storage").advice or "")
    assert check_storage(url.replace("study.db", "other.db")).state == "warning", (
        "before the file is made, too"
    )


def test_a_file_that_this_user_may_only_read(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(url)
    refused = tmp_path / "study.db"
    monkeypatch.setattr(sqlite_file, "_may", lambda path, mode: path != refused or mode == os.R_OK)
    finding = failed(examine(url), "storage")
    assert "may only be read" in finding.found
    assert "permissions" in (finding.advice or "")


def test_a_lock_that_nobody_gives_back(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(url)
    monkeypatch.setattr(storage_checks, "_LOCK_SECONDS", 0.2)
    holder = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    finding = check_storage(url)
    holder.close()
    assert finding.state == "failed"
    assert "locked" in finding.found
    assert "hangs" in (finding.advice or "")
    assert check_storage(url).state == "ok"


def test_a_journal_in_which_readers_wait_and_a_disk_that_fills_up(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(url).storage.engine.dispose()
    connection = sqlite3.connect(tmp_path / "study.db")
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    diagnosis = diagnose(url)
    assert diagnosis.ok, "a warning is no failure"
    assert line(diagnosis, "storage").state == "warning"
    assert "WAL" in (line(diagnosis, "storage").advice or "")
    monkeypatch.setattr(storage_checks, "free_space", lambda path: 1000)
    assert "room" in (check_storage(url).advice or "")


@pytest.mark.postgres
def test_a_server_that_is_away(postgres_url: str, postgres_server: PostgresServer) -> None:
    with postgres_server.outage():
        found = failed(diagnose(postgres_url), "storage")
    password = sqlalchemy.make_url(postgres_url).password
    assert password
    assert password not in str(found)
    assert "server runs" in (found.advice or "")


@pytest.mark.postgres
def test_a_user_who_may_only_read(postgres_url: str) -> None:
    make(postgres_url)
    assert "connections in use" in check_storage(postgres_url).found
    engine = sqlalchemy.create_engine(postgres_url)
    name = sqlalchemy.make_url(postgres_url).database
    role = f"reader_{name}"
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'geheim'"))
        connection.execute(sqlalchemy.text(f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}"'))
    try:
        url = sqlalchemy.make_url(postgres_url).set(username=role, password="geheim")
        finding = check_storage(url.render_as_string(hide_password=False))
        assert (finding.state, finding.value) == ("failed", None)
        assert "may only read" in finding.found
        assert "geheim" not in str(finding)
        assert "grant" in (finding.advice or "")
    finally:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(f'DROP OWNED BY "{role}"'))
            connection.execute(sqlalchemy.text(f'DROP ROLE "{role}"'))
        engine.dispose()


@pytest.mark.postgres
def test_a_server_that_takes_no_writes(postgres_url: str) -> None:
    """As on a standby; the server's default for this database says the same."""
    name = sqlalchemy.make_url(postgres_url).database
    engine = sqlalchemy.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    engine.dispose()
    finding = check_storage(postgres_url)
    assert finding.state == "failed"
    assert "takes no writes" in finding.found
    assert "primary" in (finding.advice or "")


@pytest.mark.postgres
def test_clocks_are_compared(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    for offset, side in ((-100, "behind"), (100, "ahead of")):
        monkeypatch.setattr(time, "time", lambda offset=offset: now() + offset)
        place = check_storage(postgres_url).value
        assert place is not None
        assert place.seconds_ahead == pytest.approx(offset, abs=5)
        finding = check_clock(place)
        assert finding.state == "warning"
        assert f"s {side} the database's" in finding.found
        assert "NTP" in (finding.advice or "")


# ── the study and its workers ──


def test_packages_that_differ_are_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = make(url)
    here = study_checks.current_versions()
    monkeypatch.setattr(study_checks, "current_versions", lambda: {**here, "torch": "0.1"})
    finding = study_checks.check_versions(opened)
    assert finding.state == "warning"
    assert f"torch 0.1 here, {here['torch']} in the study" in finding.found
    assert f"pip install torch=={here['torch']}" in (finding.advice or "")
    monkeypatch.setattr(study_checks, "current_versions", lambda: {**here, "python": "3.0"})
    assert f"use Python {here['python']}" in (study_checks.check_versions(opened).advice or "")


def test_a_lease_that_lapsed(storage_url: str, tmp_path: Path) -> None:
    opened = make(storage_url)
    claim(opened.storage, opened.study_id, "lost")
    assert diagnose(storage_url, artifacts=tmp_path).ok, "its lease still runs"
    age(opened, 0, 1000)
    found = failed(diagnose(storage_url, artifacts=tmp_path), "workers")
    assert "trial 0" in found.found
    assert "gloss-tune reap" in (found.advice or "")


def entry(name: str, host: str, **changes: Any) -> WorkerEntry:
    return WorkerEntry(name, host, 1, "cpu", **changes)


def test_workers_present_are_counted_and_share_the_work(url: str) -> None:
    opened = make(url, trials=7, rehearse_seconds=10.0)
    for number in range(3):
        register_worker(opened.storage, opened.study_id, entry(f"w{number}", socket.gethostname()))
    diagnosis = diagnose(url)
    assert line(diagnosis, "workers").found == f"3 on {socket.gethostname()}"
    assert diagnosis.estimate is not None
    assert (diagnosis.estimate.workers, diagnosis.estimate.seconds_to_go) == (3, 30.0)


def test_a_worker_of_this_machine_whose_process_has_ended(url: str) -> None:
    opened = make(url)
    gone = dataclasses.replace(
        entry("gone", socket.gethostname(), trial=2, machine=this_process().machine), pid=2**22 + 1
    )
    register_worker(opened.storage, opened.study_id, gone)
    silence(opened, 60)
    assert "trial 2" in failed(diagnose(url), "workers").found


def test_workers_must_use_the_same_artifacts(url: str, tmp_path: Path) -> None:
    opened, artifacts = make(url), tmp_path / "artifacts"
    for host in ("north", "../south"):
        register_worker(opened.storage, opened.study_id, entry(f"{host}-1", host))
    diagnosis = diagnose(url, artifacts=artifacts)
    assert diagnosis.ok
    found = line(diagnosis, "artifacts")
    assert (found.state, "../south, north" in found.found) == ("warning", True)
    assert "--artifacts" in (found.advice or "")
    for host in ("north", "../south"):
        leave_marker(artifacts, "study", f"{host}-1")
    found = line(diagnose(url, artifacts=artifacts), "artifacts")
    assert found.state == "ok"
    assert "the workers on ../south, north use it too" in found.found
    assert all(p.parent == artifacts / "hosts" / "study" for p in artifacts.rglob("*") if p.is_file())
    assert not has_left_marker(artifacts, "study", "east-1")
    remove_marker(artifacts, "study", "north-1")
    assert line(diagnose(url, artifacts=artifacts), "artifacts").state == "warning"


def test_a_machine_that_is_anothers_copy_may_have_another_folder(url: str, tmp_path: Path) -> None:
    """It has this one's name, start and network card, and each of the two has a folder of its own."""
    opened, artifacts = make(url), tmp_path / "artifacts"
    host, machine = socket.gethostname(), this_process().machine
    leave_marker(artifacts, "study", f"{host}-7-aaaa")
    for token in ("aaaa", "bbbb"):
        twin = dataclasses.replace(entry(f"{host}-7-{token}", host, machine=machine), pid=os.getpid())
        register_worker(opened.storage, opened.study_id, twin)
    found = line(diagnose(url, artifacts=artifacts), "artifacts")
    assert (found.state, host in found.found) == ("warning", True)
    leave_marker(artifacts, "study", f"{host}-7-bbbb")
    assert line(diagnose(url, artifacts=artifacts), "artifacts").state == "ok"


def test_a_marker_that_cannot_be_left_costs_no_worker(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("a file")
    leave_marker(tmp_path / "artifacts", "study", "w")
    remove_marker(tmp_path / "artifacts", "study", "w")
    assert not has_left_marker(tmp_path / "artifacts", "study", "w")


def test_markers_of_killed_workers_are_removed_in_the_end(tmp_path: Path) -> None:
    leave_marker(tmp_path, "study", "killed")
    long_ago = time.time() - 91 * 86_400
    os.utime(next((tmp_path / "hosts" / "study").iterdir()), (long_ago, long_ago))
    leave_marker(tmp_path, "study", "new")
    assert not has_left_marker(tmp_path, "study", "killed")
    assert has_left_marker(tmp_path, "study", "new")


# ── this machine ──


def test_artifacts_that_cannot_be_written(url: str, tmp_path: Path) -> None:
    make(url)
    (tmp_path / "taken").write_text("a file")
    found = failed(diagnose(url, artifacts=tmp_path / "taken"), "artifacts")
    assert str(tmp_path / "taken") in found.found
    assert "--artifacts" in (found.advice or "")


def test_data_that_are_missing_or_others(real: OpenStudy, url: str, tmp_path: Path) -> None:
    with (tmp_path / "words" / "train.csv").open("a") as file:
        file.write("a0 a1,a\n")
    found = failed(diagnose(url), "data")
    assert real.dataset["fingerprint"] in found.found
    assert "dataset.n_train" in found.found
    assert "--data-dir" in (found.advice or "")
    shutil.rmtree(tmp_path / "words")
    diagnosis = diagnose(url)
    failed(diagnosis, "data")
    assert "the check of data failed" in line(diagnosis, "tokens").found
    assert line(diagnosis, "trial").state == "skipped"
    assert line(diagnosis, "encoder").state == "ok", "what does not need the data is still checked"


def test_a_published_data_set_is_not_downloaded(
    url: str, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOSS_TUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("gloss_tune.data.loading.fetch", lambda info: pytest.fail("downloaded"))
    opened = make(url, train={"max_length": 16})
    spec = {**opened.spec.to_dict(), "rehearse": False, "model": str(encoder)}
    opened.storage.set_study_user_attr(opened.study_id, "gloss_tune:spec", spec)
    resolved = resolve_encoder(str(encoder))
    known = {"name": resolved.name, "fingerprint": resolved.fingerprint}
    opened.storage.set_study_user_attr(opened.study_id, "gloss_tune:encoder", known)
    assert "datasets fetch mr" in told(failed(diagnose(url), "data"))


def test_an_encoder_that_is_missing_another_or_broken(
    real: OpenStudy, url: str, encoder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "encoder"
    shutil.copytree(encoder, copy)
    spec = {**real.spec.to_dict(), "model": str(copy)}
    real.storage.set_study_user_attr(real.study_id, "gloss_tune:spec", spec)
    known = {"name": str(copy), "fingerprint": resolve_encoder(str(copy)).fingerprint}
    real.storage.set_study_user_attr(real.study_id, "gloss_tune:encoder", known)
    assert diagnose(url).ok
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert "encoder.fingerprint" in failed(diagnose(url), "encoder").found
    (copy / "model.safetensors").write_bytes(weights[:100])
    broken = {**known, "fingerprint": resolve_encoder(str(copy)).fingerprint}
    real.storage.set_study_user_attr(real.study_id, "gloss_tune:encoder", broken)
    diagnosis = diagnose(url)
    failed(diagnosis, "encoder")
    assert line(diagnosis, "disk").state == line(diagnosis, "trial").state == "skipped"
    shutil.rmtree(copy)
    assert "check the path" in told(failed(diagnose(url), "encoder"))


def test_a_device_that_is_not_there(url: str, tmp_path: Path) -> None:
    found = failed(diagnose(url, device="cuda:99", artifacts=tmp_path), "device")
    assert "cuda:99" in found.found
    assert "choose auto, cpu" in told(found)


@pytest.mark.parametrize(("free", "state"), [(40_000_000_000, "ok"), (500_000_000, "warning")])
def test_a_graphics_card_is_named_with_its_memory(
    free: int, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a card made up here: what torch says of one is taken over."""
    monkeypatch.setattr(machine_checks, "pick_device", lambda wanted: "cuda:0")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Card X")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80_000_000_000))
    finding = machine_checks.check_device("auto")
    assert (finding.value, finding.state) == ("cuda:0", state)
    assert finding.found.startswith("cuda:0 (Card X): ")
    assert finding.found.endswith("of 80 GB memory free")


def test_tokens_that_cannot_be_kept(
    real: OpenStudy, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("GLOSS_TUNE_CACHE", str(tmp_path / "taken"))
    diagnosis = diagnose(url)
    assert diagnosis.ok, "each worker then makes its own"
    assert line(diagnosis, "tokens").state == "warning"
    assert "GLOSS_TUNE_CACHE" in (line(diagnosis, "tokens").advice or "")


def test_a_disk_on_which_checkpoints_do_not_fit(
    url: str, tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none_kept, three_kept = make(url, "none", keep=0), make(url, "three", keep=3)
    loaded = machine_checks.LoadedEncoder(resolve_encoder(str(encoder)), 100_000_000)
    checkpoint = 16 * loaded.parameters

    def look(free: int, opened: OpenStudy, workers: int = 1) -> Finding[None]:
        monkeypatch.setattr(machine_checks, "free_space", lambda path: free)
        return machine_checks.check_disk(workers, tmp_path, opened, loaded)

    assert look(2 * checkpoint - 1, none_kept).state == "failed"
    assert look(2 * checkpoint, none_kept).state == "warning"
    assert look(6 * checkpoint, none_kept).state == "ok"
    assert look(4 * checkpoint - 1, none_kept, workers=2).state == "failed"
    finding = look(3 * checkpoint - 1, three_kept)
    assert (finding.state, "1 worker on this machine and 3 kept models" in finding.found) == ("failed", True)
    assert "--artifacts" in (finding.advice or "")
    assert look(3 * checkpoint, three_kept).state == "warning"


def test_a_checkpoint_is_as_large_as_said(real: OpenStudy, encoder: Path, tmp_path: Path) -> None:
    """The oracle for the disk's check: a checkpoint as a run writes it, here with the last epoch as its best."""
    dataset, resolved = load_dataset(str(tmp_path / "words")), resolve_encoder(str(encoder))
    run = Session(dataset, resolved, "cpu", 16).run(smoke.middle_config(real.spec))
    next(run.epochs())
    save_checkpoint(tmp_path / "trial.ckpt", run.state_dict())
    parameters = sum(p.numel() for p in run.encoder.model.parameters())
    said = parameters * (machine_checks._CHECKPOINT_BYTES - machine_checks._MODEL_BYTES)
    names = 60_000  # of weights, and the archive's own: the same for a large encoder
    assert said * 0.95 < (tmp_path / "trial.ckpt").stat().st_size < said + names


def test_a_trial_that_cannot_be_run(real: OpenStudy, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object, **__: object) -> None:
        raise DeviceMemoryError("The device is full, got 1 GB; lower batch_size")

    monkeypatch.setattr(Session, "run", too_large)
    found = failed(diagnose(url), "trial")
    assert (found.found, found.advice) == ("The device is full, got 1 GB; lower batch_size", None)


def test_an_error_that_nobody_expected_is_a_line_like_others(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(url)

    def odd(*_: object) -> None:
        raise RuntimeError("postgresql://u:geheim@h/d is odd\nand more")

    monkeypatch.setattr(machine_checks, "check_cores", odd)
    diagnosis = diagnose(url)
    assert failed(diagnosis, "cores").found == "RuntimeError: postgresql://u:***@h/d is odd"
    assert line(diagnosis, "trial").state == "ok"


def test_the_middle_of_each_range() -> None:
    space = {
        "mask_ratio": {"low": 0.2, "high": 0.6},
        "lpa_iterations": {"low": 1, "high": 100, "log": True},
        "learning_rate": {"low": 1e-5, "high": 1e-3},
        "batch_size": {"choices": [8, 16, 32]},
        "epochs": {"low": 2, "high": 10, "step": 4},
    }
    config = smoke.middle_config(build_spec({"dataset": "mr", "space": space}))
    assert config.faults() == []
    assert config.mask_ratio == pytest.approx(0.4)
    assert config.lpa_iterations == 10
    assert config.learning_rate == pytest.approx(1e-4)
    assert (config.batch_size, config.epochs) == (16, 6)


def test_doctor_between_two_workers_changes_nothing(url: str, tmp_path: Path) -> None:
    opened = make(url, trials=4)
    options = WorkerOptions(artifacts=tmp_path / "artifacts", max_trials=2)
    work(opened, options, StopFlag())
    diagnosis = diagnose(url, artifacts=options.artifacts)
    assert diagnosis.ok
    assert "2 of 4 trials finished" in line(diagnosis, "study").found
    work(opened, options, StopFlag())
    done = diagnose(url, artifacts=options.artifacts)
    assert done.estimate is not None
    assert done.estimate.seconds_to_go == 0
