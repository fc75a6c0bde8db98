"""Words and tables that Markdown shows as they are meant."""

from __future__ import annotations

import re
from collections.abc import Sequence


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, also in a table's cell."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&$])", r"\\\1", " ".join(text.split()))


def table(header: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[int] = ()) -> str:
    """A Markdown table.

    Args:
        header: column names.
        rows: cells; None is shown as a dash.
        right: numbers of the columns that are aligned to the right.
    """
    marks = ["---:" if column in right else "---" for column in range(len(header))]
    lines = [list(header), marks, *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: object) -> str:
    return "–" if cell is None else escaped(short(cell))


def short(value: object) -> str:
    """A number in four digits, everything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def exact(value: float | None) -> str:
    """Four decimals, as metrics are told: their differences lie in the third."""
    return "–" if value is None else f"{value:.4f}"
