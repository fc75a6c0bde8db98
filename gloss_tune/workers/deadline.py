"""``--until``: the moment before which a worker has left, as people and batch systems give it."""

from __future__ import annotations

import math
import re
import time
from datetime import datetime, timedelta

from gloss_tune.errors import InputError

_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_LONGEST_SECONDS = 10 * 365 * 86400.0


def parse_until(given: str | float, now: float | None = None) -> float:
    """Seconds since the epoch.

    Args:
        given: seconds from now; a time of day such as ``17:30``, today or else tomorrow; or an ISO time such as
            ``2026-11-25T17:30`` (local) or ``2026-11-25T16:30Z``.
        now: seconds since the epoch, by default as they are.

    Raises:
        InputError: it is none of these, or past.
    """
    start = time.time() if now is None else now
    moment = _moment(str(given).strip(), start)
    if moment is None:
        raise InputError(
            "--until takes seconds from now, a time of day (17:30), or an ISO time (2026-11-25T17:30, local, or with "
            f"its zone: 2026-11-25T16:30Z); got {str(given)!r}"
        )
    if not start <= moment <= start + _LONGEST_SECONDS:
        raise InputError(
            f"--until takes a time to come, within ten years; got {str(given)!r}; choose a later one"
        )
    return moment


def _moment(given: str, now: float) -> float | None:
    try:
        seconds = float(given)
    except ValueError:
        pass
    else:
        return now + seconds if math.isfinite(seconds) else None
    try:
        if clock := _CLOCK.fullmatch(given):
            hour, minute, second = (int(part or 0) for part in clock.groups())
            today = datetime.fromtimestamp(now)
            moment = today.replace(hour=hour, minute=minute, second=second, microsecond=0)
            if moment.timestamp() <= now:
                moment += timedelta(days=1)
            return moment.timestamp()
        # Python 3.10 does not read the zone's short name
        return datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", given)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
