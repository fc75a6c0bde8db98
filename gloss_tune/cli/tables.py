"""Tables for people: borders and colours on a terminal, plain aligned text elsewhere."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from gloss_tune.wording import NOTHING, short

_PIPE_WIDTH = 10_000


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Print rows under columns on stdout; a cell that does not fit a terminal wraps, in a pipe none does."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))  # as text: brackets are no markup
    width = shutil.get_terminal_size().columns if terminal else _PIPE_WIDTH
    Console(file=sys.stdout, width=width, highlight=False, soft_wrap=False).print(table)


def print_trials(rows: list[dict[str, Any]]) -> None:
    """One line per trial on stdout."""
    names = list(dict.fromkeys(name for row in rows for name in row["params"]))
    columns = ["trial", "state", "value", *names, "epochs", "seconds", "attempts", "error"]
    if not any(row["error"] for row in rows):
        columns.pop()
    print_table(
        columns,
        (
            [
                row["number"],
                row["state"],
                row["value"],
                *(row["params"].get(name) for name in names),
                row["epochs"] or None,
                row["seconds"],
                row["attempts"],
                *([row["error"]] if columns[-1] == "error" else []),
            ]
            for row in rows
        ),
    )


def shown(value: Any) -> str:
    """A value in a table: four significant digits, a dash for nothing."""
    if isinstance(value, dict):
        return ", ".join(f"{key}={shown(item)}" for key, item in value.items()) or NOTHING
    return short(value)
