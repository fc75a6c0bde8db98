"""The layout of the documents that this thread's encoder sees end to end, for code that no argument reaches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gloss_tune.encoder.layout import Layout


class _Thread(threading.local):
    layout: Layout | None = None


_thread = _Thread()


def packed_layout() -> Layout | None:
    """Of the pass without padding that runs in this thread; None outside of one."""
    return _thread.layout


@contextmanager
def packing(layout: Layout) -> Iterator[None]:
    """Run a pass without padding in here."""
    before, _thread.layout = _thread.layout, layout
    try:
        yield
    finally:
        _thread.layout = before
