"""Connections of the studies that these tests open."""

from __future__ import annotations

from tests.integration.studies import all_connections_closed

__all__ = ["all_connections_closed"]
