"""PgBouncer in transaction mode: connections to the server change hands with every transaction."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy
from optuna.trial import TrialState

from gloss_tune.doctor.storage import check_storage
from gloss_tune.queue.claims import claim
from gloss_tune.storage.connect import open_storage
from gloss_tune.study.objective import Ending, ask, tell
from gloss_tune.study.status import trials
from tests.integration.studies import join, make
from tests.servers import PgBouncer, PostgresServer, ServerUnavailableError

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(120)]


@pytest.fixture
def pooled_url(pgbouncer: PgBouncer, postgres_url: str) -> str:
    return pgbouncer.url(postgres_url)


@pytest.fixture
def tight_url(postgres_server: PostgresServer, postgres_url: str) -> Iterator[str]:
    """A pool with a single connection for all, where whoever holds one and needs another waits for ever."""
    try:
        bouncer = PgBouncer(postgres_server, "default_pool_size = 1")
    except ServerUnavailableError as error:
        pytest.skip(str(error))
    yield bouncer.url(postgres_url)
    bouncer.close()


def test_parallel_first_starts_make_one_study(tight_url: str) -> None:
    start = threading.Barrier(6)

    def create(index: int) -> str:
        start.wait()
        return make(tight_url, f"study-{index % 2}", trials=3).name

    with ThreadPoolExecutor(6) as pool:
        names = list(pool.map(create, range(6)))
    assert Counter(names) == {"study-0": 3, "study-1": 3}
    storage = open_storage(tight_url)
    assert len(storage.get_all_studies()) == 2


def test_workers_share_the_pool_and_every_trial_runs_once(tight_url: str) -> None:
    make(tight_url, trials=24)
    start = threading.Barrier(4)

    def work(name: str) -> None:
        opened = join(tight_url)
        opened.storage.retry_for(60.0, lambda: False, lease=60.0)
        start.wait()
        while (claimed := claim(opened.storage, opened.study_id, name)) is not None:
            trial, _ = ask(opened, claimed)
            trial.report(0.5, step=1)
            trial.should_prune()
            tell(opened, trial, claimed, Ending(TrialState.COMPLETE, 0.5), 1.0, {})
        opened.storage.remove_session()
        opened.storage.engine.dispose()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, "abcd"))
    rows = trials(join(tight_url))
    assert Counter(row["state"] for row in rows) == {"complete": 24}
    assert {row["attempts"] for row in rows} == {1}


def test_nothing_is_left_with_the_servers_connection(tight_url: str) -> None:
    """No lock, no prepared statement and no setting: the next client has that connection."""
    opened = make(tight_url, trials=2)
    for _ in range(12):  # the driver would prepare what it has sent five times
        assert len(trials(opened)) == 2
    claim(opened.storage, opened.study_id, "w")
    engine = sqlalchemy.create_engine(tight_url, connect_args={"prepare_threshold": None})
    with engine.connect() as connection:
        ask_for = lambda text: connection.execute(sqlalchemy.text(text)).scalar()  # noqa: E731
        assert ask_for("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
        assert ask_for("SELECT count(*) FROM pg_prepared_statements") == 0
        assert ask_for("SHOW idle_in_transaction_session_timeout") == "0"
    engine.dispose()


def test_what_another_client_left_with_the_connection_does_no_harm(tight_url: str) -> None:
    opened = make(tight_url, trials=2)
    engine = sqlalchemy.create_engine(tight_url, connect_args={"prepare_threshold": None, "autocommit": True})
    with engine.connect() as connection:
        for setting in ("statement_timeout = '1ms'", "extra_float_digits = -10", "lock_timeout = '1ms'"):
            connection.exec_driver_sql(f"SET SESSION {setting}")
    engine.dispose()
    fresh = join(tight_url)
    claimed = claim(fresh.storage, fresh.study_id, "w")
    assert claimed is not None
    trial, params = ask(fresh, claimed)
    tell(fresh, trial, claimed, Ending(TrialState.COMPLETE, 0.123456789012345), 1.0, {})
    row = trials(fresh)[0]
    assert row["value"] == 0.123456789012345
    assert row["params"] == params
    assert trials(opened)[0] == row


def test_doctor_sees_the_pooler(pooled_url: str, postgres_url: str) -> None:
    make(postgres_url)
    assert "a pooler is in between" in check_storage(pooled_url).found
    assert check_storage(pooled_url).state == "ok"
    assert "pooler" not in check_storage(postgres_url).found


def test_a_restarted_pooler_is_waited_for(pgbouncer: PgBouncer, postgres_url: str) -> None:
    opened = make(pgbouncer.url(postgres_url), trials=2)
    opened.storage.retry_for(30.0, lambda: False, lease=4.0)
    assert claim(opened.storage, opened.study_id, "w") is not None
    pgbouncer.stop()
    back = threading.Timer(0.5, pgbouncer.start)
    back.start()
    assert claim(opened.storage, opened.study_id, "w") is not None
    back.join()
