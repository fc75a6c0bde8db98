"""Words and tables that Markdown shows as they are meant."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gloss_tune.wording import NOTHING, short

# an underscore within a word is one
_MARKUP = re.compile(r"([\\`*{}\[\]<>#|~!&$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, also in a table's cell."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


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
    return NOTHING if cell is None else escaped(short(cell))
