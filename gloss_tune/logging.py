"""Talk: everything that is not the data asked for goes to stderr through here.

On a terminal it is coloured (rich); elsewhere it is one plain line per message, with the time. Passwords in
database URLs are masked before anything is written.
"""

from __future__ import annotations

import logging
import re
import sys

logger = logging.getLogger("gloss_tune")

_URL_PASSWORD = re.compile(r"(?P<head>\b[a-z][a-z0-9+.-]*://[^\s:/@]*):(?P<password>[^\s]+)@", re.IGNORECASE)
_KEY_PASSWORD = re.compile(r"(?P<head>\b\w*passw(?:or)?d=)(?P<password>'[^']*'|[^\s&;,)'\"]+)", re.IGNORECASE)


def redact(text: str) -> str:
    """``text`` with the password of every URL and of every ``password=…`` replaced by ``***``."""
    text = _URL_PASSWORD.sub(r"\g<head>:***@", text)
    return _KEY_PASSWORD.sub(r"\g<head>***", text)


class _Redacted(logging.Filter):
    """Masks passwords in a record, its arguments included, and says whose it is."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = self._prefix + redact(record.getMessage())
        record.args = ()
        return True


def configure(level: int = logging.INFO, prefix: str = "") -> None:
    """Send the package's log to stderr, each message after ``prefix``; safe to call twice."""
    handler: logging.Handler
    if sys.stderr is None:  # closed by whoever started us: there is nobody to talk to
        handler = logging.NullHandler()
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(
            console=Console(stderr=True), show_path=False, show_level=False, log_time_format="[%H:%M:%S]"
        )
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    handler.addFilter(_Redacted(prefix))
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
