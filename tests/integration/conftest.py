"""What holds for the studies that these tests open."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.studies import all_connections_closed, known_files, server_up_for_long

__all__ = ["all_connections_closed", "known_files", "server_up_for_long"]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """An SQLite storage, where the kind of database makes no difference."""
    return f"sqlite:///{tmp_path}/study.db"
