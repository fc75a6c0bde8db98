"""The folder that a run to a model fills: what it may be, and the plan by which a stopped run goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gloss_tune.atomic import write_whole
from gloss_tune.errors import InputError
from gloss_tune.filesystem import why_not_writable
from gloss_tune.logging import logger
from gloss_tune.pipeline.plan import Sizes, Speed, TimePlan

PLAN, BEST, MODEL, REPORT = "plan.json", "best.json", "model", "report.html"


def check_output(output: Path) -> None:
    """Whether a folder can take what comes of a run; says so where there will be no report.

    Raises:
        InputError: it is no folder, cannot be written, or holds other files than an earlier run's.
    """
    why = why_not_writable(output)
    if why is None and output.exists() and not output.is_dir():
        why = "it is a file"
    if why is None and output.is_dir() and any(output.iterdir()) and not (output / PLAN).is_file():
        why = "it holds other files"
    if why is not None:
        raise InputError(
            f"--output {output} must be a new folder, or that of an earlier run ({why}); name another"
        )
    if not can_report():
        logger.warning("There will be no report: it needs matplotlib; pip install 'gloss-tune[report]'.")


def can_report() -> bool:
    """Whether what draws the report's pictures is installed."""
    return find_spec("matplotlib") is not None


def stored_plan(output: Path) -> dict[str, Any] | None:
    """What an earlier run in this folder had planned; None if there was none.

    Raises:
        InputError: it cannot be read.
    """
    try:
        found: dict[str, Any] = json.loads((output / PLAN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{output / PLAN} cannot be read ({error}); name another --output") from None
    return found


def recalled(stored: dict[str, Any], output: Path, *, limited: bool) -> tuple[TimePlan, Speed, Sizes]:
    """The plan that a run goes on with, the speed and the sizes that it was made for.

    Args:
        stored: what the earlier run had planned.
        output: its folder.
        limited: whether the run that goes on has a time; without one it only ends what was planned.

    Raises:
        InputError: another release wrote it.
    """
    try:
        plan, speed, sizes = TimePlan(**stored["plan"]), Speed(**stored["speed"]), Sizes(**stored["sizes"])
    except (KeyError, TypeError):
        raise InputError(
            f"{output / PLAN} was written by another release, whose run cannot go on; name another --output"
        ) from None
    if not limited:
        plan = replace(plan, seconds=None, open_ended=False)
    return plan, speed, sizes


def write(path: Path, data: dict[str, Any]) -> None:
    """Write plain values as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")
