"""Eight workers, 200 trials, and no peace: exactly 200 results, each the right one (see tests/acceptance/chaos.py)."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

import pytest

from gloss_tune.study.status import trials as read_trials
from gloss_tune.study.study import open_study
from tests.acceptance.chaos import Chaos, check
from tests.acceptance.conftest import Commands
from tests.acceptance.faked_clock import Clock, clock, clocked_server
from tests.acceptance.processes import ForkServer
from tests.servers import PgBouncer, PostgresServer

__all__ = ["clock", "clocked_server"]

SECONDS = float(os.environ.get("CHAOS_SECONDS", "6"))
SEED = int(os.environ.get("CHAOS_SEED", "0"))


@pytest.mark.timeout(120 + 4 * SECONDS)
def test_nothing_is_lost_and_nothing_counts_twice(
    on_storage: Commands, request: pytest.FixtureRequest
) -> None:
    assert on_storage.storage is not None
    on_postgres = on_storage.storage.startswith("postgresql")
    chaos = Chaos(
        on_storage, SECONDS, SEED, request.getfixturevalue("postgres_server") if on_postgres else None
    )
    opened = chaos.run()
    check(opened)
    assert chaos.happened["kill"], "nobody was disturbed"


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(120 + 4 * SECONDS)
def test_nothing_is_lost_behind_a_pooler(
    commands: Commands, postgres_url: str, postgres_server: PostgresServer, pgbouncer: PgBouncer
) -> None:
    commands.storage = pgbouncer.url(postgres_url)
    chaos = Chaos(commands, SECONDS, SEED, postgres_server, pgbouncer)
    check(chaos.run())


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(200 + 4 * SECONDS)
@pytest.mark.parametrize("peaceful", [False, True], ids=["killed", "in peace"])
def test_nothing_is_lost_behind_a_pooler_while_clocks_are_set(
    commands: Commands,
    postgres_url: str,
    postgres_server: PostgresServer,
    pgbouncer: PgBouncer,
    clock: Clock,
    clocked_server: ForkServer,
    peaceful: bool,
) -> None:
    """Where nobody is killed not for a second, though the server is read-only at times."""
    commands.storage = pgbouncer.url(postgres_url)
    # in a few seconds nobody that is killed need have a trial
    seconds = SECONDS if peaceful else max(SECONDS, 20)
    chaos = Chaos(commands, seconds, SEED, postgres_server, pgbouncer, clock, clocked_server, peaceful)
    opened = chaos.run()
    check(opened)
    assert chaos.happened["clock set"]
    attempts = {row["attempts"] for row in read_trials(opened)}
    assert attempts == {1} if peaceful else max(attempts) > 1


@pytest.mark.slow
@pytest.mark.timeout(120 + 4 * SECONDS)
def test_nothing_is_lost_while_clocks_are_set(
    commands: Commands, tmp_path: Path, clock: Clock, clocked_server: ForkServer
) -> None:
    """On SQLite, where each process reads the clock that it sees."""
    commands.storage = f"sqlite:///{tmp_path}/study.db"
    clock.set("-1h")
    commands("create", "--dataset", "mr", "--rehearse", "--study", "early", server=clocked_server)
    made = datetime.fromisoformat(open_study(commands.storage, "early").created)
    assert abs((datetime.now(timezone.utc) - made).total_seconds() - 3600) < 60, "the clock is not faked"
    commands("studies", "delete", "early", "--yes")
    chaos = Chaos(commands, SECONDS, SEED, None, None, clock, clocked_server)
    check(chaos.run())
    assert chaos.happened["clock set"]
