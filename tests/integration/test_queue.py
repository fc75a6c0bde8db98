"""The budget as a queue: claims, leases, requeueing, and the fence around a lost trial."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from gloss_tune.errors import LeaseLostError
from gloss_tune.queue import claims as queue
from gloss_tune.queue.budget import counts, create_study
from gloss_tune.queue.claims import Claim, claim, delete_reports, release
from gloss_tune.queue.steering import STEERING, Steering, read_steering, steer
from gloss_tune.storage.connect import open_storage
from gloss_tune.study.objective import Ending, ask, tell
from gloss_tune.study.study import OpenStudy
from tests.integration.studies import METRICS, age, contents, expire, join, make, renew, trial_of

pytestmark = pytest.mark.prepared

LEASE = 30.0
COMPLETE = Ending(TrialState.COMPLETE, 0.75)


def states(opened: OpenStudy) -> str:
    """``WWRC``: the first letter of each trial's state, by number."""
    return "".join(t.state.name[0] for t in opened.storage.get_all_trials(opened.study_id))


def finish(opened: OpenStudy, value: float) -> int:
    """Claim, draw and complete one trial."""
    claimed = claim(opened.storage, opened.study_id, "helper")
    assert claimed is not None
    trial, _ = ask(opened, claimed)
    trial.report(value, step=5)
    tell(opened, trial, claimed, Ending(TrialState.COMPLETE, value), 1.0, {})
    return claimed.number


# ── creation ──


def test_a_new_study_holds_its_whole_budget(storage_url: str) -> None:
    opened = make(storage_url, trials=7)
    trials = opened.storage.get_all_trials(opened.study_id)
    assert [t.number for t in trials] == list(range(7))
    assert {t.state for t in trials} == {TrialState.WAITING}
    assert all(a._trial_id < b._trial_id for a, b in itertools.pairwise(trials))
    assert opened.storage.get_study_directions(opened.study_id)[0].name == "MAXIMIZE"


def test_a_study_is_made_whole_or_not_at_all(storage_url: str) -> None:
    storage = open_storage(storage_url, create=True)
    before = contents(storage_url)
    with pytest.raises(TypeError):
        create_study(storage, "torn", {"spec": {}}, 5, [{"mask_ratio": 0.5}, {"mask_ratio": object()}])
    assert contents(storage_url) == before
    assert create_study(storage, "torn", {"spec": {}}, 5, [])


def test_simultaneous_creations_make_one_study(storage_url: str) -> None:
    open_storage(storage_url, create=True).engine.dispose()
    start = threading.Barrier(6)

    def attempt(index: int) -> bool:
        storage = open_storage(storage_url)
        start.wait()
        made = create_study(storage, "one", {"by": index}, 5, [])
        storage.engine.dispose()
        return made

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(attempt, range(6))) == 1
    rows = contents(storage_url)
    assert len(rows["studies"]) == 1
    assert len(rows["trials"]) == 5
    assert len(rows["study_user_attributes"]) == 1


def test_first_trials_are_queued_first(storage_url: str) -> None:
    given = {"mask_ratio": 0.25, "lpa_iterations": 7, "temperature": 0.5, "learning_rate": 2e-5}
    opened = make(storage_url, first_trials=["published", given, {"mask_ratio": 0.75}])
    drawn = []
    for _ in range(4):
        claimed = claim(opened.storage, opened.study_id, "w")
        assert claimed is not None
        drawn.append(ask(opened, claimed)[1])
    assert drawn[0]["mask_ratio"] == pytest.approx(0.3)
    assert drawn[0]["temperature"] == pytest.approx(0.667**2)
    assert drawn[1] == given
    assert drawn[2]["mask_ratio"] == 0.75
    assert len({tuple(d.values()) for d in drawn}) == 4


def test_a_grid_is_queued_whole(storage_url: str) -> None:
    space = {
        "mask_ratio": {"points": 2},
        "temperature": {"choices": [0.1, 1.0]},
        "lpa_iterations": 5,
        "learning_rate": 1e-4,
    }
    opened = make(storage_url, sampler="grid", trials=50, space=space)
    drawn = []
    while (claimed := claim(opened.storage, opened.study_id, "w")) is not None:
        drawn.append(ask(opened, claimed)[1])
    assert {(d["mask_ratio"], d["temperature"]) for d in drawn} == {
        (0.1, 0.1),
        (0.9, 0.1),
        (0.1, 1.0),
        (0.9, 1.0),
    }
    assert len(drawn) == 4


# ── claims ──


def test_trials_are_claimed_once_each_in_order(storage_url: str) -> None:
    opened, other = make(storage_url), join(storage_url)
    claims = [
        claim(o.storage, o.study_id, name)
        for o, name in [(opened, "a"), (other, "b"), (opened, "a"), (other, "b")]
    ]
    assert [c.number for c in claims if c] == [0, 1, 2, 3]
    assert {c.attempt for c in claims if c} == {1}
    assert claim(opened.storage, opened.study_id, "a") is None
    assert states(opened) == "RRRR"
    assert [trial_of(opened, n).user_attrs["worker"] for n in range(4)] == ["a", "b", "a", "b"]
    assert trial_of(opened, 0).datetime_start is not None


def test_workers_in_parallel_claim_every_trial_once(storage_url: str) -> None:
    make(storage_url, trials=40)
    start = threading.Barrier(5)

    def work(name: str) -> list[int]:
        opened = join(storage_url)
        start.wait()
        mine = []
        while (claimed := claim(opened.storage, opened.study_id, name)) is not None:
            mine.append(claimed.number)
        opened.storage.engine.dispose()
        return mine

    with ThreadPoolExecutor(5) as pool:
        claimed = [number for mine in pool.map(work, "abcde") for number in mine]
    assert sorted(claimed) == list(range(40))


def test_a_claim_touches_its_own_study_alone(storage_url: str) -> None:
    one, two = make(storage_url, "one", trials=1), make(storage_url, "two", trials=2)
    assert claim(one.storage, one.study_id, "w") is not None
    assert claim(one.storage, one.study_id, "w") is None
    age(one, 0, 100)
    assert expire(two.storage, two.study_id, LEASE, 10) == []
    assert (states(one), states(two)) == ("R", "WW")


# ── leases ──


def test_a_lease_is_judged_by_the_last_sign_of_life(storage_url: str) -> None:
    opened, other = make(storage_url), join(storage_url)
    claimed = claim(opened.storage, opened.study_id, "a")
    assert claimed is not None
    age(opened, 0, LEASE - 5)
    assert expire(other.storage, other.study_id, LEASE, 10) == []
    assert renew(opened.storage, claimed)
    age(opened, 0, LEASE - 5)
    assert expire(other.storage, other.study_id, LEASE, 10) == []
    age(opened, 0, 10)
    assert expire(other.storage, other.study_id, LEASE, 10) == [0]
    assert states(opened) == "WWWW"
    assert trial_of(opened, 0).datetime_start is None
    assert expire(other.storage, other.study_id, LEASE, 10) == []


def test_a_fresh_claim_after_a_reap_is_not_reaped_at_once(storage_url: str) -> None:
    """The heartbeat of the lost worker is still there."""
    opened, other = make(storage_url, trials=1), join(storage_url)
    claim(opened.storage, opened.study_id, "a")
    age(opened, 0, 1000)
    assert expire(other.storage, other.study_id, LEASE, 10) == [0]
    assert claim(other.storage, other.study_id, "b") is not None
    assert expire(opened.storage, opened.study_id, LEASE, 10) == []


def test_the_databases_clock_decides_whatever_the_time_zones(
    storage_url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    opened = make(storage_url)
    if storage_url.startswith("postgresql"):
        engine = sqlalchemy.create_engine(storage_url)
        with engine.connect() as connection:
            name = connection.engine.url.database
            connection.execute(
                sqlalchemy.text(f"ALTER DATABASE \"{name}\" SET timezone TO 'Pacific/Auckland'")
            )
            connection.commit()
        engine.dispose()
    claim(opened.storage, opened.study_id, "here")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    request.addfinalizer(time.tzset)
    far = join(storage_url)
    claim(far.storage, far.study_id, "far")
    assert expire(far.storage, far.study_id, LEASE, 10) == []
    assert expire(opened.storage, opened.study_id, LEASE, 10) == []
    age(opened, 0, LEASE + 5)
    age(opened, 1, LEASE + 5)
    assert sorted(expire(far.storage, far.study_id, LEASE, 10)) == [0, 1]


def test_parallel_reapers_requeue_each_trial_once(storage_url: str) -> None:
    opened = make(storage_url, trials=12)
    for _ in range(12):
        claim(opened.storage, opened.study_id, "gone")
    for number in range(12):
        age(opened, number, 100)
    start = threading.Barrier(4)

    def work(_: int) -> list[int]:
        mine = join(storage_url)
        start.wait()
        found = expire(mine.storage, mine.study_id, LEASE, 10)
        mine.storage.engine.dispose()
        return found

    with ThreadPoolExecutor(4) as pool:
        reaped = [number for found in pool.map(work, range(4)) for number in found]
    assert sorted(reaped) == list(range(12))
    assert states(opened) == "W" * 12


def test_a_requeued_trial_is_the_same_trial(storage_url: str) -> None:
    opened, other = make(storage_url, trials=2), join(storage_url)
    claimed = claim(opened.storage, opened.study_id, "a")
    assert claimed is not None
    trial, params = ask(opened, claimed)
    trial.report(0.5, step=1)
    trial.report(0.6, step=2)
    age(opened, 0, 100)
    assert expire(other.storage, other.study_id, LEASE, 10) == [0]

    again = claim(other.storage, other.study_id, "b")
    assert again is not None
    assert (again.number, again.trial_id, again.attempt) == (0, claimed.trial_id, 2)
    kept = trial_of(other, 0)
    assert kept.intermediate_values == {1: 0.5, 2: 0.6}
    retried, same_params = ask(other, again)
    assert same_params == params
    assert kept.user_attrs["attempts"] == 2
    assert kept.user_attrs["worker"] == "b"
    tell(other, retried, again, COMPLETE, 1.0, {})
    assert states(other) == "CW"
    assert len(opened.storage.get_all_trials(opened.study_id)) == 2


def test_a_trial_given_back_waits_at_once(storage_url: str) -> None:
    opened, other = make(storage_url), join(storage_url)
    claimed = claim(opened.storage, opened.study_id, "a")
    assert claimed is not None
    _, params = ask(opened, claimed)
    assert release(opened.storage, claimed)
    assert states(opened) == "WWWW"
    again = claim(other.storage, other.study_id, "b")
    assert again is not None
    assert (again.number, again.attempt) == (0, 2)
    assert ask(other, again)[1] == params


def test_a_finished_trial_cannot_be_given_back_renewed_or_reaped(storage_url: str) -> None:
    opened = make(storage_url)
    claimed = claim(opened.storage, opened.study_id, "a")
    assert claimed is not None
    trial, _ = ask(opened, claimed)
    trial.report(0.75, step=1)
    tell(opened, trial, claimed, COMPLETE, 1.0, {})
    age(opened, 0, 1000)
    assert not release(opened.storage, claimed)
    assert not renew(opened.storage, claimed)
    assert expire(opened.storage, opened.study_id, LEASE, 10) == []
    assert states(opened) == "CWWW"
    assert trial_of(opened, 0).value == 0.75


def test_a_trial_that_loses_worker_after_worker_fails_with_its_history(storage_url: str) -> None:
    opened = make(storage_url, trials=2)
    for attempt in (1, 2, 3):
        claimed = claim(opened.storage, opened.study_id, f"w{attempt}")
        assert claimed is not None
        assert (claimed.number, claimed.attempt) == (0, attempt)
        age(opened, 0, 100)
        assert expire(opened.storage, opened.study_id, LEASE, 3) == [0]
    failed = trial_of(opened, 0)
    assert failed.state == TrialState.FAIL
    assert "3 times" in failed.user_attrs["error"]
    assert "max_attempts" in failed.user_attrs["error"]
    assert failed.user_attrs["attempts"] == 3
    assert failed.datetime_complete is not None
    assert counts(opened.storage, opened.study_id) == {
        TrialState.FAIL: 1,
        TrialState.WAITING: 1,
        TrialState.RUNNING: 0,
        TrialState.COMPLETE: 0,
        TrialState.PRUNED: 0,
    }


def test_an_orderly_stop_is_not_a_lost_worker(storage_url: str) -> None:
    """A long trial on preemptible machines, told to stop many times and lost once, has lost one worker."""
    opened = make(storage_url, trials=1)
    for _ in range(5):
        claimed = claim(opened.storage, opened.study_id, "preempted")
        assert claimed is not None
        assert release(opened.storage, claimed)
    claim(opened.storage, opened.study_id, "killed")
    age(opened, 0, 100)
    expire(opened.storage, opened.study_id, LEASE, 3)
    assert states(opened) == "W"


# ── the fence ──


def late_writes(opened: OpenStudy, trial: Any, claimed: Claim) -> dict[str, Any]:
    """Everything that a worker which overslept could still try to write."""
    storage, trial_id = opened.storage, trial._trial_id
    return {
        "report": lambda: trial.report(0.99, step=9),
        "user attribute": lambda: trial.set_user_attr("metrics", {"late": 1}),
        "system attribute": lambda: storage.set_trial_system_attr(trial_id, "late", 1),
        "parameters": lambda: storage.set_params(trial_id, {"late": 0.5}, {"late": FloatDistribution(0, 1)}),
        "forgetting": lambda: delete_reports(storage, claimed),
        "parameter": lambda: trial.suggest_float("late", 0, 1),
        "state": lambda: storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.99]),
        "result": lambda: tell(opened, trial, claimed, Ending(TrialState.COMPLETE, 0.99), 1.0, {"late": 1}),
        "failure": lambda: tell(opened, trial, claimed, Ending(TrialState.FAIL, reason="late"), 1.0, {}),
    }


@pytest.mark.parametrize("now", ["waiting", "running elsewhere", "finished elsewhere"])
def test_a_worker_that_overslept_writes_nothing(storage_url: str, now: str) -> None:
    opened, other = make(storage_url, trials=1, priors=False), join(storage_url)
    claimed = claim(opened.storage, opened.study_id, "sleeper")
    assert claimed is not None
    trial, _ = ask(opened, claimed)
    trial.report(0.5, step=1)
    age(opened, 0, 100)
    assert expire(other.storage, other.study_id, LEASE, 10) == [0]
    if now != "waiting":
        again = claim(other.storage, other.study_id, "heir")
        assert again is not None
        heir, _ = ask(other, again)
        heir.report(0.6, step=2)
        if now == "finished elsewhere":
            tell(other, heir, again, Ending(TrialState.COMPLETE, 0.6), 1.0, {"metrics": METRICS})

    before = contents(storage_url)
    for what, write in late_writes(opened, trial, claimed).items():
        with pytest.raises(LeaseLostError):
            write()
        assert contents(storage_url) == before, what
    assert not renew(opened.storage, claimed)
    assert not release(opened.storage, claimed)
    assert contents(storage_url) == before

    if now == "running elsewhere":
        tell(other, heir, again, Ending(TrialState.COMPLETE, 0.6), 1.0, {})
    if now != "waiting":
        assert (trial_of(other, 0).value, trial_of(other, 0).user_attrs["worker"]) == (0.6, "heir")


@pytest.mark.parametrize("now", ["waiting", "finished elsewhere"])
def test_a_lease_lost_in_the_middle_of_telling_is_a_lost_lease(
    storage_url: str, monkeypatch: pytest.MonkeyPatch, now: str
) -> None:
    """Suspended in tell, before it writes: no other error, and the heir's result counts."""
    opened, other = make(storage_url, trials=1), join(storage_url)
    claimed = claim(opened.storage, opened.study_id, "sleeper")
    assert claimed is not None
    trial, _ = ask(opened, claimed)
    trial.report(0.5, step=1)

    def sleep(*arguments: Any) -> None:
        age(other, 0, 100)
        assert expire(other.storage, other.study_id, LEASE, 10) == [0]
        if now == "finished elsewhere":
            assert finish(other, 0.6) == 0

    monkeypatch.setattr(trial.study.sampler, "after_trial", sleep)
    with pytest.raises(LeaseLostError):
        tell(opened, trial, claimed, Ending(TrialState.COMPLETE, 0.99), 1.0, {})
    assert states(other) == ("W" if now == "waiting" else "C")
    assert trial_of(other, 0).value == (None if now == "waiting" else 0.6)


def test_a_lease_lost_before_the_draw_draws_nothing(storage_url: str) -> None:
    opened, other = make(storage_url, trials=1), join(storage_url)
    claimed = claim(opened.storage, opened.study_id, "sleeper")
    assert claimed is not None
    age(opened, 0, 100)
    assert expire(other.storage, other.study_id, LEASE, 10) == [0]
    with pytest.raises(LeaseLostError):
        ask(opened, claimed)
    assert trial_of(other, 0).params == {}


def test_the_holder_writes_freely(storage_url: str) -> None:
    opened = make(storage_url, trials=1)
    claimed = claim(opened.storage, opened.study_id, "w")
    assert claimed is not None
    trial, params = ask(opened, claimed)
    for step in (1, 2, 3):
        trial.report(step / 10, step)
    tell(opened, trial, claimed, Ending(TrialState.COMPLETE, 0.3), 2.5, {"device": "cpu"})
    done = trial_of(opened, 0)
    assert (done.state, done.value, done.params) == (TrialState.COMPLETE, 0.3, params)
    assert done.user_attrs["seconds"] == 2.5
    assert done.user_attrs["device"] == "cpu"


@pytest.mark.postgres
@pytest.mark.parametrize("write", ["report", "attribute", "finish", "renew"])
def test_a_late_write_that_waits_for_a_new_claim_is_refused(postgres_url: str, write: str) -> None:
    """The row's lock is not enough: what is compared under it must not be older than the lock."""
    slow, late = make(postgres_url), join(postgres_url)
    claimed = claim(late.storage, late.study_id, "late")
    assert claimed is not None
    known = {"trial": claimed.trial_id}
    writes: dict[str, Callable[[], object]] = {
        "report": lambda: late.storage.set_trial_intermediate_value(claimed.trial_id, 1, 0.5),
        "attribute": lambda: late.storage.set_trial_system_attr(claimed.trial_id, "key", 1),
        "finish": lambda: queue.finish(late.storage, claimed, TrialState.COMPLETE, 0.5, {}),
        "renew": lambda: renew(late.storage, claimed),
    }

    def fails() -> bool:
        try:
            return writes[write]() is False
        except LeaseLostError:
            return True

    with ThreadPoolExecutor(1) as pool, slow.storage.transaction() as session:
        # reaped and claimed again at once, so that the trial runs before and after
        session.execute(sqlalchemy.text("UPDATE trials SET state = state WHERE trial_id = :trial"), known)
        changed = (
            "UPDATE trial_user_attributes SET value_json = '2' WHERE trial_id = :trial AND key = 'attempts'"
        )
        assert session.execute(sqlalchemy.text(changed), known).rowcount == 1
        written = pool.submit(fails)
        time.sleep(0.5)
        assert not written.done()
        session.commit()
        assert written.result(30)
    trial = trial_of(slow, 0)
    assert trial.state == TrialState.RUNNING
    assert trial.user_attrs["attempts"] == 2
    assert not trial.intermediate_values
    assert "key" not in trial.system_attrs


# ── one at a time ──


def test_workers_in_parallel_draw_distinct_points_of_a_finite_space(storage_url: str) -> None:
    five = {"choices": [0.1, 0.2, 0.3, 0.4, 0.5]}
    space = {"mask_ratio": five, "temperature": five, "lpa_iterations": 3, "learning_rate": 1e-4}
    make(storage_url, trials=20, space=space)
    start = threading.Barrier(4)

    def work(name: str) -> list[tuple[Any, ...]]:
        opened = join(storage_url)
        start.wait()
        drawn = []
        while (claimed := claim(opened.storage, opened.study_id, name)) is not None:
            drawn.append(tuple(ask(opened, claimed)[1].values()))
        opened.storage.engine.dispose()
        return drawn

    with ThreadPoolExecutor(4) as pool:
        drawn = [point for points in pool.map(work, "abcd") for point in points]
    assert len(drawn) == 20
    assert len(set(drawn)) == 20


# ── what a worker reads ──


def test_a_worker_reads_all_but_the_rest_of_the_budget(storage_url: str) -> None:
    given = {"mask_ratio": 0.25, "lpa_iterations": 7, "temperature": 0.5, "learning_rate": 2e-5}
    opened, other = make(storage_url, trials=8, first_trials=["published", given]), join(storage_url)
    opened.storage.claimed_only = True

    def seen() -> str:
        trials = opened.optuna_study().get_trials(deepcopy=False)
        assert [t.number for t in trials] == list(range(len(trials)))
        return "".join(t.state.name[0] for t in trials)

    assert seen() == "WW", "queued points are there before anyone claims them"
    first = claim(other.storage, other.study_id, "a")
    assert first is not None
    assert seen() == "RW"
    for _ in range(3):
        finish(other, 0.5)
    assert seen() == "RCCC"
    assert release(other.storage, first)
    assert seen() == "WCCC", "a trial that waits again is still there"
    fresh = join(storage_url)
    fresh.storage.claimed_only = True
    assert [t.state.name[0] for t in fresh.optuna_study().get_trials()] == list("WCCC")
    assert finish(other, 0.7) == 0
    assert finish(other, 0.8) == 4
    for reader in (opened, fresh):
        trials = reader.optuna_study().get_trials(deepcopy=False)
        assert [(t.state.name[0], t.value) for t in trials] == [
            ("C", 0.7), ("C", 0.5), ("C", 0.5), ("C", 0.5), ("C", 0.8),
        ]  # fmt: skip
    opened.storage.claimed_only = False
    assert seen() == "CCCCCWWW"


def test_a_pruner_reads_no_more_than_the_state_of_unfinished_trials(storage_url: str) -> None:
    opened, other = make(storage_url, trials=6, first_trials=["published"]), join(storage_url)
    opened.storage.claimed_only = True
    study = opened.optuna_study()
    first = claim(other.storage, other.study_id, "a")
    assert first is not None
    trial, params = ask(other, first)
    trial.report(0.1, step=1)
    finish(other, 0.5)
    running = claim(other.storage, other.study_id, "b")
    assert running is not None

    with opened.storage.finished_only():
        seen = study.get_trials(deepcopy=False)
    assert "".join(t.state.name[0] for t in seen) == "RCR"
    assert seen[1] == trial_of(opened, 1)
    assert not seen[0].params
    assert not seen[0].intermediate_values
    # a draw in the same process then reads them whole, among them what was requeued and what ended meanwhile
    assert study.get_trials(deepcopy=False)[0].params == params
    assert release(other.storage, running)
    with opened.storage.finished_only():
        assert study.get_trials(deepcopy=False)[2].state == TrialState.WAITING
    tell(other, trial, first, COMPLETE, 1.0, {})
    with opened.storage.finished_only():
        assert study.get_trials(deepcopy=False)[0] == trial_of(opened, 0)
    assert study.get_trials(deepcopy=False) == other.storage.get_all_trials(other.study_id)[:3]


# ── steering ──


def test_nothing_is_claimed_while_a_study_is_paused_or_stopped(storage_url: str) -> None:
    opened, other = make(storage_url), make(storage_url, "other")
    for steering in Steering:
        assert steer(opened.storage, opened.study_id, steering) in (None, Steering.paused)
        assert read_steering(opened.storage, opened.study_id) is steering
        assert claim(opened.storage, opened.study_id, "w") is None
    assert claim(other.storage, other.study_id, "w") is not None  # another study's affair
    assert steer(opened.storage, opened.study_id, None) is Steering.stopped
    assert steer(opened.storage, opened.study_id, None) is None
    assert claim(opened.storage, opened.study_id, "w") is not None


def test_what_another_tool_writes_there_steers_nobody(url: str) -> None:
    opened = make(url)
    for value in ("on holiday", 7, None, ["paused"]):
        opened.storage.set_study_user_attr(opened.study_id, STEERING, value)
        assert read_steering(opened.storage, opened.study_id) is None
        assert claim(opened.storage, opened.study_id, "w") is not None
