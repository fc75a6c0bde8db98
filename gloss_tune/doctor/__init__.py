"""Checks of storage, data, encoder, device and study: what is wrong, and how to mend it."""
