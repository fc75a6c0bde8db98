"""Measurements against peers in the same run; never part of the test suite (they need the machine to themselves)."""
