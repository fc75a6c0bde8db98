"""Numbers as people read them: sizes, durations, and nouns in the singular or plural."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

#: Stands where there is no value.
NOTHING = "–"


def size(number: float) -> str:
    """Bytes, such as ``1.2 GB``: at most three digits, in powers of 1000 as disks are sold."""
    unit = "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 999.5 or unit == "TB":
            break
        number /= 1000
    return f"{number:.1f} {unit}" if number < 9.95 and unit != "B" else f"{number:.0f} {unit}"


def duration(seconds: float) -> str:
    """Seconds, such as ``1.5 min``: of two digits or so, since times vary by more than that."""
    if 0 < seconds < 1e-4:
        return "less than 0.1 ms"
    if 0 < seconds < 0.095:
        return f"{seconds * 1000:.2g} ms"
    if seconds < 59.5:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 119.5:
        return f"{minutes:.1f} min" if minutes < 9.95 else f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h"


def parse_duration(text: str) -> float:
    """Seconds, from ``90``, ``90s``, ``10m``, ``2h``, ``1h30m`` or ``1.5h``.

    Raises:
        ValueError: if it is none of these, or not more than 0.
    """
    parts = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m(?:in)?)?(?:([\d.]+)s?)?", text.strip().lower())
    if parts is None or not any(parts.groups()):
        raise ValueError(text)
    seconds = sum(float(part or 0) * unit for part, unit in zip(parts.groups(), (3600, 60, 1), strict=True))
    if not 0 < seconds < math.inf:
        raise ValueError(text)
    return seconds


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Such as ``1 trial`` and ``2 trials``.

    Args:
        plural: where it is more than the noun and an ``s``.
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def listed(places: Sequence[int], noun: str, most: int = 10) -> str:
    """Such as ``line 4``, ``lines 4, 7`` and, of more than ``most``, ``lines 4, 7, … (500 in all)``."""
    shown = ", ".join(map(str, places[:most]))
    if len(places) > most:
        shown += f", … ({len(places):,} in all)"
    return f"{noun}{'s' if len(places) > 1 else ''} {shown}"


def short(value: object) -> str:
    """A number in four significant digits, everything else as it is; a dash for None."""
    if value is None:
        return NOTHING
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def exact(value: float | None) -> str:
    """Four decimals, as metrics are told: their differences lie in the third; a dash for None."""
    return NOTHING if value is None else f"{value:.4f}"


def settings(values: Mapping[str, object]) -> str:
    """Such as ``temperature=0.1, epochs=3``; empty without any."""
    return ", ".join(f"{name}={short(value)}" for name, value in values.items())
