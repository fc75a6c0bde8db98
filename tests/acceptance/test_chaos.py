"""Eight workers, 200 trials, and no peace: exactly 200 results, each the right one (see tests/acceptance/chaos.py)."""

from __future__ import annotations

import os

import pytest

from tests.acceptance.chaos import Chaos, check
from tests.acceptance.conftest import Commands
from tests.servers import PgBouncer, PostgresServer

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
