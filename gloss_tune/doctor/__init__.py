"""Checks of storage, data, encoder, device and study: what is wrong, and how to fix it."""
