"""Trials that come back: from workers that are gone, from answers that got lost, from failures that were mended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from gloss_tune.confirm.export import exported_trial as export
from gloss_tune.errors import GlossTuneError, InputError, LeaseLostError
from gloss_tune.finetune.rehearsal import Rehearsal
from gloss_tune.processes import this_process
from gloss_tune.queue import claims as queue
from gloss_tune.queue import clock
from gloss_tune.queue.claims import Claim, claim, release
from gloss_tune.queue.heartbeats import Heartbeat, WorkerEntry, live_workers, register_worker, send_heartbeat
from gloss_tune.queue.recovery import requeue_failed
from gloss_tune.signals import StopFlag
from gloss_tune.storage import schema
from gloss_tune.storage.shared_storage import SharedStorage
from gloss_tune.study.objective import Ending, ask, tell
from gloss_tune.study.status import status, stop_reason
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.lease import LeaseKeeper
from gloss_tune.workers.options import WorkerOptions
from gloss_tune.workers.worker import work
from tests.integration.studies import age, join, make, real_server_started, renew, silence, trial_of

pytestmark = pytest.mark.prepared

COMPLETE = Ending(TrialState.COMPLETE, 0.75)


def take(opened: OpenStudy, worker: str = "w") -> Claim:
    claimed = claim(opened.storage, opened.study_id, worker)
    assert claimed is not None
    return claimed


def end(opened: OpenStudy, ending: Ending = COMPLETE) -> Claim:
    """Claim one trial and end it."""
    claimed = take(opened)
    trial, _ = ask(opened, claimed)
    tell(opened, trial, claimed, ending, 1.0, {})
    return claimed


def fail(opened: OpenStudy, reason: str = "NonFiniteLossError: nan", **options: Any) -> Claim:
    return end(opened, Ending(TrialState.FAIL, reason=reason, **options))


def states(opened: OpenStudy) -> str:
    return "".join(t.state.name[0] for t in opened.storage.get_all_trials(opened.study_id))


# ── workers that are gone ──


def signed_in(opened: OpenStudy, worker: str, pid: int, machine: str | None = None) -> None:
    me = this_process()
    entry = WorkerEntry(worker, me.host, pid, "cpu", machine=me.machine if machine is None else machine)
    register_worker(opened.storage, opened.study_id, entry)


@pytest.fixture
def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_worker_whose_process_ended_here_is_not_waited_for(storage_url: str, dead_pid: int) -> None:
    opened = make(storage_url, lease=3600)
    for worker, pid in (("alive", this_process().pid), ("dead", dead_pid)):
        take(opened, worker)
        signed_in(opened, worker, pid)
    assert join(storage_url).requeue_lost().requeued == [], (
        "it may be a clone's: two heartbeats must be missed"
    )
    silence(opened, 11)
    assert join(storage_url).requeue_lost().requeued == [1]
    assert states(opened) == "RWWW"
    assert [worker.id for worker in live_workers(opened.storage, opened.study_id, 3600)] == ["alive"]
    assert trial_of(opened, 1).user_attrs["lost_workers"] == 1
    assert opened.requeue_lost().requeued == []


def test_a_worker_elsewhere_has_its_lease(storage_url: str, dead_pid: int) -> None:
    opened = make(storage_url, lease=3600)
    take(opened, "elsewhere")
    signed_in(opened, "elsewhere", dead_pid, machine="another machine")
    assert opened.requeue_lost().requeued == []
    age(opened, 0, 3601)
    assert opened.requeue_lost().requeued == [0]


def test_entries_of_workers_long_silent_are_struck_off(storage_url: str) -> None:
    opened = make(storage_url, lease=2)
    signed_in(opened, "old", this_process().pid, machine="another machine")
    signed_in(opened, "new", this_process().pid, machine="another machine")
    attribute = schema.StudySystemAttribute
    with opened.storage.transaction() as session:
        row = session.scalars(sqlalchemy.select(attribute).where(attribute.key.endswith("at_work:old"))).one()
        row.value_json = json.dumps({**json.loads(row.value_json), "seen": "2001-01-01T00:00:00"})
    opened.requeue_lost()
    with opened.storage.transaction() as session:
        keys = session.scalars(sqlalchemy.select(attribute.key)).all()
    assert [key for key in keys if "at_work" in key] == ["gloss_tune:at_work:new"]


def test_all_running_trials_can_be_taken_away(storage_url: str) -> None:
    opened = make(storage_url, lease=3600)
    mine = join(storage_url)
    held = [take(mine), take(mine)]
    assert opened.requeue_lost(all_running=True).requeued == [0, 1]
    assert states(opened) == "WWWW"
    assert "lost_workers" not in trial_of(opened, 0).user_attrs
    assert not renew(mine.storage, held[0])


@pytest.mark.postgres
def test_time_without_a_server_does_not_count_against_a_lease(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can renew a lease on a server that is away: after its start, each has its whole lease again."""
    monkeypatch.setattr("gloss_tune.queue.claims.server_started", real_server_started)
    opened = make(postgres_url, lease=30)
    take(opened)
    age(opened, 0, 100_000)
    with opened.storage.transaction() as session:
        up = clock.database_now(session) - real_server_started(session)
    assert timedelta(0) < up < timedelta(hours=1)
    patched = OpenStudy(**{**vars_of(opened), "spec": opened.spec.model_copy(update={"lease": 7200.0})})
    assert patched.requeue_lost().requeued == []
    patched = OpenStudy(**{**vars_of(opened), "spec": opened.spec.model_copy(update={"lease": 0.01})})
    assert patched.requeue_lost().requeued == [0]


def vars_of(opened: OpenStudy) -> dict[str, Any]:
    return {name: getattr(opened, name) for name in OpenStudy.__dataclass_fields__}


# ── answers that got lost ──


def lose_next_answer(storage: SharedStorage, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the next commit succeed without the caller's hearing of it."""
    left = [1]
    real = sqlalchemy.orm.Session.commit

    def commit(self: Any) -> None:
        real(self)
        if left:
            left.pop()
            raise OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))

    monkeypatch.setattr(sqlalchemy.orm.Session, "commit", commit)
    storage.retry_for(30.0, lambda: False, lease=2.0)
    return left


def test_a_claim_that_nobody_heard_of_is_found_again(
    storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = make(storage_url)
    left = lose_next_answer(opened.storage, monkeypatch)
    claimed = take(opened, "me")
    assert left == []
    assert (claimed.number, claimed.attempt) == (0, 2)
    assert states(opened) == "RWWW"
    assert renew(opened.storage, claimed)
    assert take(opened, "me").number == 1, "a claim that it knows of is not taken again"


def test_another_workers_claim_is_left_alone(storage_url: str) -> None:
    opened = make(storage_url)
    take(opened, "me")
    assert take(join(storage_url), "you").number == 1


def test_a_draw_that_was_written_unheard_stays(storage_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = make(storage_url)
    claimed = take(opened)
    space = {"mask_ratio": FloatDistribution(0.1, 0.9), "temperature": FloatDistribution(0.01, 2.0, log=True)}
    params = {"mask_ratio": 0.25, "temperature": 0.5}
    left = lose_next_answer(opened.storage, monkeypatch)
    assert opened.storage.set_params(claimed.trial_id, params, space)
    assert left == []
    assert trial_of(opened, 0).params == params


def test_a_worker_that_gave_its_trial_back_cannot_write_to_it(storage_url: str) -> None:
    """Its shutdown requeues from another thread, while it may be about to draw."""
    opened, other = make(storage_url), join(storage_url)
    claimed = take(opened)
    assert release(opened.storage, claimed)
    heir = take(other)
    assert heir.number == claimed.number
    with pytest.raises(LeaseLostError):
        ask(opened, claimed)
    assert trial_of(other, 0).params == {}


def test_a_result_that_was_written_unheard_counts_once(
    storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = make(storage_url)
    claimed = take(opened)
    ask(opened, claimed)
    left = lose_next_answer(opened.storage, monkeypatch)
    queue.finish(opened.storage, claimed, TrialState.COMPLETE, 0.5, {"seconds": 1.0})
    assert left == []
    done = trial_of(opened, 0)
    assert (done.state, done.value, done.user_attrs["seconds"]) == (TrialState.COMPLETE, 0.5, 1.0)


# ── failures ──


def test_a_study_without_failures_goes_on(storage_url: str) -> None:
    opened = make(storage_url, max_failures=1)
    assert stop_reason(opened) is None
    end(opened)
    assert stop_reason(opened) is None


def test_too_many_failures_stop_a_study_with_the_last_error(storage_url: str) -> None:
    opened = make(storage_url, trials=6, max_failures=2, max_failures_in_a_row=100)
    fail(opened, "First: a")
    end(opened)
    assert stop_reason(opened) is None
    fail(opened, "Second: b")
    reason = stop_reason(opened)
    assert reason is not None
    assert reason.startswith("2 trials have failed (max_failures), the last one, trial 2, with: Second: b.")
    assert "reap --failed" in reason


def test_failures_in_a_row_stop_a_study_others_between_do_not(storage_url: str) -> None:
    opened = make(storage_url, trials=9, max_failures_in_a_row=3)
    for step in (fail, fail, end, fail, fail):
        step(opened)
        assert stop_reason(opened) is None
    fail(opened, "Third: c")
    reason = stop_reason(opened)
    assert reason is not None
    assert reason.startswith("3 trials in a row have failed (max_failures_in_a_row), the last one, trial 5")


def test_another_studys_failures_do_not_count(storage_url: str) -> None:
    mine, other = make(storage_url, max_failures=1), make(storage_url, "other", max_failures=1)
    fail(other)
    assert stop_reason(mine) is None
    assert stop_reason(other) is not None


def test_failed_trials_get_another_chance_under_their_numbers(storage_url: str) -> None:
    opened = make(storage_url, max_failures=2)
    fail(opened, infeasible=True)
    end(opened)
    fail(opened)
    params = [trial_of(opened, n).params for n in range(3)]
    reasons = {number: trial_of(opened, number).user_attrs["error"] for number in (0, 2)}
    assert requeue_failed(opened.storage, opened.study_id) == reasons
    assert all(reasons.values())
    assert states(opened) == "WCWW"
    assert stop_reason(opened) is None
    again = trial_of(opened, 0)
    assert "error" not in again.user_attrs
    assert "constraints" not in again.system_attrs
    assert again.datetime_complete is None
    fresh = join(storage_url)
    assert end(fresh).number == 0
    assert [trial_of(fresh, n).params for n in range(3)] == params
    assert trial_of(fresh, 0).user_attrs["attempts"] == 2
    assert states(opened) == "CCWW"
    assert requeue_failed(opened.storage, opened.study_id) == {}


def test_a_trial_given_up_by_lost_workers_is_a_failure_too(storage_url: str) -> None:
    opened = make(storage_url, max_attempts=1, max_failures=1)
    take(opened)
    age(opened, 0, 100)
    assert opened.requeue_lost().given_up == [0]
    reason = stop_reason(opened)
    assert reason is not None
    assert "WorkerLost" in reason


def test_identities_differ_only_where_they_should() -> None:
    entry = WorkerEntry("a", "host", this_process().pid, "cpu", machine=this_process().machine)
    assert not entry.is_gone
    assert not replace(entry, machine="").is_gone


def test_whoever_has_the_study_open_sees_a_revived_trial(storage_url: str) -> None:
    """Optuna's cache takes ended trials to be final."""
    opened, other = make(storage_url, trials=2), join(storage_url)
    fail(opened, infeasible=True)
    assert [t.state.name for t in opened.optuna_study().get_trials()] == ["FAIL", "WAITING"]
    requeue_failed(other.storage, other.study_id)
    assert [t.state.name for t in opened.optuna_study().get_trials()] == ["WAITING", "WAITING"]
    claimed = take(opened)
    trial, _ = ask(opened, claimed)
    trial.report(0.25, step=1)
    tell(opened, trial, claimed, Ending(TrialState.COMPLETE, 0.25), 1.0, {})
    assert trial_of(other, 0).intermediate_values == {1: 0.25}
    assert export(opened)["best"]["value"] == 0.25


def test_the_order_of_failures_is_that_of_the_databases_clock(
    storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose clock is far ahead failed first; others succeeded since."""

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2190, 1, 1)

    opened = make(storage_url, trials=9, max_failures_in_a_row=2)
    with monkeypatch.context() as ahead:
        ahead.setattr("gloss_tune.storage.schema.datetime", Ahead)
        fail(opened)
        fail(opened)
    assert stop_reason(opened) is not None
    time.sleep(1.1)  # SQLite's clock has whole seconds
    end(opened)
    assert stop_reason(opened) is None


def test_a_study_with_nothing_left_to_start_is_finished_and_not_stopped(storage_url: str) -> None:
    opened = make(storage_url, trials=2, max_failures=1)
    fail(opened)
    assert stop_reason(opened) is not None
    fail(opened)
    assert stop_reason(opened) is None


# ── beats ──


def beat_of(opened: OpenStudy, worker: str, claimed: Claim | None = None) -> Heartbeat:
    me = this_process()
    entry = WorkerEntry(worker, me.host, me.pid, "cpu", machine=me.machine)
    return send_heartbeat(opened.storage, opened.study_id, entry, claimed, opened.spec.lease)


def test_a_beat_renews_lease_and_entry_and_looks_around(storage_url: str) -> None:
    opened, other = make(storage_url, lease=30), join(storage_url)
    mine, theirs = take(opened, "me"), take(other, "you")
    for number in (0, 1):
        age(opened, number, 100)
    heard = beat_of(opened, "me", mine)
    assert (heard.holds, heard.silence, heard.others_silent) == (True, 0.0, True)
    assert [worker.id for worker in heard.workers] == ["me"]
    assert opened.requeue_lost().requeued == [1]
    assert not beat_of(other, "you", theirs).holds
    heard = beat_of(opened, "me", mine)
    assert (heard.holds, heard.others_silent) == (True, False)
    assert [worker.id for worker in heard.workers] == ["me", "you"]
    assert 0.0 <= heard.silence < 30


def asleep(opened: OpenStudy, seconds: float) -> None:
    """Nobody was heard of for a while, this worker included."""
    for number, trial in enumerate(opened.storage.get_all_trials(opened.study_id)):
        if trial.state == TrialState.RUNNING:
            age(opened, number, seconds)
    silence(opened, seconds)


def test_who_slept_lets_the_others_wake_up(storage_url: str) -> None:
    """A closed lid suspends all workers: the first to wake must not take the others' trials away."""
    opened = make(storage_url, lease=30)
    take(join(storage_url), "sleeps too")
    me = this_process()
    keeper = LeaseKeeper(opened, WorkerEntry("me", me.host, me.pid, "cpu", machine=me.machine))
    register_worker(opened.storage, opened.study_id, keeper._entry)
    asleep(opened, 1000)
    keeper._heartbeat()
    assert states(opened) == "RWWW"
    keeper._cautious_until = 0.0  # a lease later
    keeper._heartbeat()
    assert states(opened) == "WWWW"


def test_who_was_awake_takes_silent_workers_trials(storage_url: str) -> None:
    opened = make(storage_url, lease=30)
    take(join(storage_url), "dead")
    me = this_process()
    keeper = LeaseKeeper(opened, WorkerEntry("me", me.host, me.pid, "cpu", machine=me.machine))
    age(opened, 0, 1000)
    keeper._heartbeat()
    assert states(opened) == "RWWW", "it has just come: the clock may have jumped a moment ago"
    keeper._cautious_until = 0.0  # two heartbeats later
    keeper._heartbeat()
    assert states(opened) == "WWWW"


# ── studies that vanish ──


def test_a_deleted_study_is_noticed(storage_url: str) -> None:
    opened = make(storage_url)
    opened.check_still_there()
    claimed = take(opened)
    optuna.delete_study(study_name="study", storage=opened.storage)
    with pytest.raises(GlossTuneError, match="no longer on storage"):
        opened.check_still_there()
    assert not renew(opened.storage, claimed)
    with pytest.raises(LeaseLostError):
        queue.finish(opened.storage, claimed, TrialState.COMPLETE, 0.5, {})


@pytest.mark.parametrize("replaced", [False, True])
def test_a_deleted_or_replaced_file_is_noticed(url: str, tmp_path: Path, replaced: bool) -> None:
    opened = make(url)
    opened.check_still_there()
    if replaced:
        make(f"sqlite:///{tmp_path}/other.db")
        (tmp_path / "other.db").replace(tmp_path / "study.db")
    else:
        (tmp_path / "study.db").unlink()
    with pytest.raises(GlossTuneError, match="deleted or replaced"):
        opened.check_still_there()


def test_a_study_of_the_first_release_has_files_without_an_identifier(url: str) -> None:
    opened = make(url)
    attribute = schema.StudyUserAttribute
    with opened.storage.transaction() as session:
        session.execute(sqlalchemy.delete(attribute).where(attribute.key == "gloss_tune:id"))
    assert join(url).files == "study"


def test_an_identifier_cannot_lead_out_of_the_folder(url: str) -> None:
    opened = make(url)
    attribute = schema.StudyUserAttribute
    with opened.storage.transaction() as session:
        row = session.scalars(sqlalchemy.select(attribute).where(attribute.key == "gloss_tune:id")).one()
        row.value_json = json.dumps("../../../etc/ab")
    assert join(url).files == "study.ecab"


# ── rows that nobody expects ──


@pytest.mark.parametrize("sign", [None, "2190-01-01 00:00:00"])
def test_a_running_trial_that_nobody_renews_is_requeued(storage_url: str, sign: str | None) -> None:
    """A sign of life from the future is left by a clock that was set back: whoever lives has a lease to renew it."""
    opened = make(storage_url, lease=30)
    claimed = take(opened)
    life = schema.TrialHeartbeat
    with opened.storage.transaction() as session:
        (row,) = session.scalars(sqlalchemy.select(life).where(life.trial_id == claimed.trial_id)).all()
        if sign is None:
            session.delete(row)
        else:
            row.heartbeat = datetime.fromisoformat(sign)
    if sign is not None:
        assert opened.requeue_lost().requeued == []
        age(opened, 0, 29)
        assert opened.requeue_lost().requeued == []
        age(opened, 0, 2)
    assert opened.requeue_lost().requeued == [0]


@pytest.mark.parametrize(
    "entry", ["{}", "[]", "nonsense", '{"seen": 5}', '{"seen": "2026-01-01", "id": "x"}']
)
def test_an_unreadable_entry_in_the_roster_stops_nobody(url: str, entry: str) -> None:
    opened = make(url)
    signed_in(opened, "good", this_process().pid)
    attribute = schema.StudySystemAttribute
    with opened.storage.transaction() as session:
        row = session.scalars(sqlalchemy.select(attribute).where(attribute.key.contains("at_work:"))).one()
        later = json.dumps({**json.loads(row.value_json), "new_in_a_later_release": 1})
        row.value_json = later
        session.add(attribute(study_id=opened.study_id, key="gloss_tune:at_work:bad", value_json=entry))
    assert [worker.id for worker in live_workers(opened.storage, opened.study_id, 60)] == ["good"]
    assert opened.requeue_lost().requeued == []
    assert status(opened)["workers"][0]["id"] == "good"


@pytest.mark.parametrize("key", ["spec", "dataset", "encoder", "versions"])
@pytest.mark.parametrize("stored", [None, 5, "text"])
def test_a_study_whose_record_is_broken_is_refused_plainly(url: str, key: str, stored: Any) -> None:
    opened = make(url)
    attribute = schema.StudyUserAttribute
    with opened.storage.transaction() as session:
        row = session.scalars(sqlalchemy.select(attribute).where(attribute.key == f"gloss_tune:{key}")).one()
        row.value_json = json.dumps(stored)
    with pytest.raises(InputError, match="cannot be read"):
        join(url)


def test_a_study_deleted_in_mid_trial_ends_the_worker_with_that_reason(
    storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = make(storage_url)
    metrics = Rehearsal._metrics

    def delete_at_the_second(self: Rehearsal, epoch: int) -> dict[str, float]:
        if epoch == 2:
            optuna.delete_study(study_name="study", storage=join(storage_url).storage)
        return metrics(self, epoch)

    monkeypatch.setattr(Rehearsal, "_metrics", delete_at_the_second)
    with pytest.raises(GlossTuneError, match="deleted"):
        work(opened, WorkerOptions(artifacts=Path(os.devnull)), StopFlag())
