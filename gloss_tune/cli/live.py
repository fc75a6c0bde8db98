"""A running study at a glance: a bar of the budget, the course of the values, and who is doing what."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gloss_tune.cli.tables import shown
from gloss_tune.wording import duration

if TYPE_CHECKING:
    from rich.console import RenderableType

_BLOCKS = "▁▂▃▄▅▆▇█"
_DONE, _RUNNING, _WAITING = "█", "▒", "░"
_WIDEST = 100
_REFRESH_SECONDS = 2.0
_GLANCE_SECONDS = 0.1


def budget_bar(trials: Mapping[str, int], width: int) -> str:
    """The budget as a bar: ended trials, running ones, those to come.

    Args:
        trials: as ``status`` counts them.
        width: characters.
    """
    budget = max(trials["budget"], 1)
    ended = trials["complete"] + trials["pruned"] + trials["failed"]
    done = ended * width // budget
    running = -(-(ended + trials["running"]) * width // budget) - done if trials["running"] else 0
    return _DONE * done + _RUNNING * running + _WAITING * (width - done - running)


def sparkline(values: Sequence[float], width: int) -> str:
    """Values from left to right as blocks of eight heights, from the lowest to the highest of them.

    Args:
        values: finite ones; of several that share a character, the highest is shown.
        width: characters at most.
    """
    if not values:
        return ""
    columns = min(len(values), width)
    edges = [place * len(values) // columns for place in range(columns + 1)]
    tops = [max(values[first:last]) for first, last in pairwise(edges)]
    low, high = min(tops), max(tops)
    if high == low:
        return _BLOCKS[3] * columns
    return "".join(_BLOCKS[round((top - low) / (high - low) * (len(_BLOCKS) - 1))] for top in tops)


def frame(now: Mapping[str, Any], values: Sequence[float], width: int) -> RenderableType:
    """What a terminal shows of a study.

    Args:
        now: what ``status`` gives.
        values: of the finished trials that have one, by number.
        width: of the terminal, in characters.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    width = min(width, _WIDEST)
    trials = now["trials"]
    ended = trials["complete"] + trials["pruned"] + trials["failed"]
    counted = [
        f"{trials[k]} {k}" for k in ("complete", "pruned", "failed", "running", "waiting") if trials[k]
    ]
    lines: list[RenderableType] = [
        Text.assemble((now["study"], "bold"), f"  {'rehearsal, ' if now['rehearsal'] else ''}{now['state']}"),
        Text(f"{now['loss']} on {now['dataset']} with {now['model']}, highest {now['metric']}", style="dim"),
        Text(""),
        Text.assemble((budget_bar(trials, max(width - 16, 10)), "green"), f"  {ended} of {trials['budget']}"),
        Text(", ".join(counted) + _to_go(now)),
    ]
    if now["stopped"]:
        lines.append(Text(f"stopped: {now['stopped']}", style="red"))
    if now["steering"]:
        lines.append(Text(f"{now['steering']}: no trial is begun until 'gloss-tune resume'", style="yellow"))
    best = now["best"]
    if best is None:
        lines += [Text(""), Text("no trial is complete yet", style="dim")]
    else:
        head = f"best {best['value']:.4f}"
        lines += [
            Text(""),
            Text.assemble((head, "bold"), f"  trial {best['number']}: {shown(best['params'])}"),
        ]
    if len(values) > 1:
        line = sparkline(values, width - 20)
        lines.append(Text.assemble((line, "cyan"), f"  {min(values):.4f} to {max(values):.4f}"))
    if now["workers"]:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("worker", "device", "trial", "epoch", "documents/s"):
            table.add_column(
                name, justify="left" if name in ("worker", "device") else "right", overflow="fold"
            )
        for worker in now["workers"]:
            speed = f"{worker['speed']:,.0f}" if worker["speed"] else None
            cells = (worker["id"], worker["device"], worker["trial"], worker["epoch"] or None, speed)
            table.add_row(*(Text(shown(cell)) for cell in cells))
        lines += [Text(""), table]
    return Group(*(_fitted(line) for line in lines))


def _fitted(line: RenderableType) -> RenderableType:
    from rich.text import Text

    if isinstance(line, Text):
        line.overflow = "fold"
    return line


def _to_go(now: Mapping[str, Any]) -> str:
    seconds = now["seconds_to_go"]
    return f"; about {duration(seconds)} to go" if seconds else ""


def watch(read: Callable[[], tuple[dict[str, Any], list[float]]], must_stop: Callable[[], bool]) -> None:
    """Show a study in place on the terminal until it has finished; the last frame stays.

    Args:
        read: status and values as they are now.
        must_stop: looked at ten times a second.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(file=sys.stdout, highlight=False)
    before = None
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        while not must_stop():
            now, values = read()
            seen = (now, values, console.width)
            if seen != before:  # else it would only flicker
                live.update(frame(*seen), refresh=True)
            before = seen
            if now["state"] == "finished":
                return
            pause(must_stop)


def pause(must_stop: Callable[[], bool]) -> None:
    """Two seconds, or until it is time to stop."""
    end = time.monotonic() + _REFRESH_SECONDS
    while time.monotonic() < end and not must_stop():
        time.sleep(_GLANCE_SECONDS)
