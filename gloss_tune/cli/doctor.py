"""``gloss-tune doctor``: what a study on this machine depends on, and how to fix what is not right."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import typer

from gloss_tune.cli.options import (
    DEFAULT_STORAGE,
    Artifacts,
    DataDir,
    Device,
    Format,
    OutputFormat,
    Storage,
    Study,
    Threads,
    emit,
    to_json,
)
from gloss_tune.wording import count, duration

if TYPE_CHECKING:
    from gloss_tune.doctor.checklist import Finding
    from gloss_tune.doctor.examination import Diagnosis, Estimate

_STATES = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "failed": ("FAILED", "bold red")}
_INDENT = 20


def doctor(
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    device: Device = "auto",
    threads: Threads = None,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
    format: OutputFormat = Format.table,
) -> None:
    """Check all that a study on this machine depends on, try some training steps, and estimate the time to go.

    Claims no trial, writes nothing to the storage and downloads no data. Ends with 1 if something failed.

    Example: gloss-tune doctor --device cuda:0
    """
    import logging

    from gloss_tune.doctor.examination import examine
    from gloss_tune.logging import configure
    from gloss_tune.workers.options import worker_options

    configure(logging.WARNING)  # the list says it all
    as_table = format is Format.table
    options = worker_options(storage, artifacts, device=device, threads=threads, data_dir=data_dir)
    diagnosis = examine(storage, study, options, _print_check if as_table else lambda check: None)
    if as_table:
        _print_end(diagnosis)
    else:
        emit(to_json(diagnosis.to_dict()))
    raise typer.Exit(0 if diagnosis.ok else 1)


def _print_check(check: Finding[Any]) -> None:
    if check.state == "skipped":  # told together at the end
        return
    word, style = _STATES[check.state]
    _print_line(check.name, word, check.found, style)
    if check.advice is not None:
        _print_line("", "", f"→ {check.advice}", style)


def _print_end(diagnosis: Diagnosis) -> None:
    reasons: dict[str, list[str]] = {}
    for check in diagnosis.checks:
        if check.state == "skipped":
            reason = check.found if check.advice is None else f"{check.found}; {check.advice}"
            reasons.setdefault(reason, []).append(check.name)
    for reason, names in reasons.items():
        _print_line("", "–", f"{', '.join(names)}: {reason}", "dim")
    if diagnosis.estimate is not None:
        _print_line("estimate", "", _estimated(diagnosis.estimate), "")
    states = [check.state for check in diagnosis.checks]
    warnings, failed = states.count("warning"), states.count("failed")
    parts = [f"{failed} failed" if failed else "Nothing failed"]
    parts += [count(warnings, "warning")] if warnings else []
    emit(f"\n{', '.join(parts)}.")


def _estimated(estimate: Estimate) -> str:
    each, all_left = estimate.seconds_per_trial, estimate.seconds_to_go
    if each and not all_left:
        return f"{duration(each)} a trial; none is left"
    return (
        f"about {duration(each)} a trial, {duration(all_left)} for all that is left with "
        f"{count(estimate.workers, 'worker')}; pruning and early stopping make it less"
    )


def _print_line(name: str, word: str, text: str, style: str) -> None:
    from rich.console import Console
    from rich.text import Text

    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns - _INDENT if terminal else 10_000
    lines = textwrap.wrap(text, max(width, 30), break_on_hyphens=False, break_long_words=False) or [""]
    head = Text(f"{name:11}").append(f"{word:9}", style=style if terminal else "")
    body = f"\n{' ' * _INDENT}".join(lines)
    Console(file=sys.stdout, highlight=False, width=10_000).print(head.append(body), soft_wrap=True)
    sys.stdout.flush()
