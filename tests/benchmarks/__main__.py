"""``make bench``: everything that is measured, as one table in which every row is a ratio.

Each group is a module beside this one with a function ``rows(quick)``. A peer that is not part of this project is
measured in the same run; a group that cannot run here is named with the reason.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
import traceback
from datetime import date
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tests.benchmarks.table import Row, format_table, write_results, write_summary

GROUPS = ("training", "auto", "quality", "memory", "start", "studies", "orchestration", "pruning", "gpu")


def main() -> None:
    """The command line; exit code 1 where a group has failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; by default all")
    parser.add_argument("--quick", action="store_true", help="in miniature, to see that it works")
    parser.add_argument(
        "--output",
        type=Path,
        help="folder for the results; by default results/DATE_bench. Other groups' figures in it stay",
    )
    options = parser.parse_args()
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"GROUP must be one of {', '.join(GROUPS)}, got {', '.join(sorted(unknown))}")
    chosen = options.groups or list(GROUPS)
    folder = options.output or (None if options.quick else Path("results") / f"{date.today()}_bench")
    table: list[Row] = []
    notes: list[str] = []
    failed = False
    for group in chosen:
        started = time.monotonic()
        if reason := why_not(group, quick=options.quick):
            notes.append(f"{group}: not run, because {reason}")
            continue
        try:
            rows = importlib.import_module(f"tests.benchmarks.{group}").rows(options.quick)
        # one group's fault must not cost the figures of the others
        except Exception as error:
            failed = True
            traceback.print_exc()
            notes.append(f"{group}: failed, {type(error).__name__}: {error}")
            continue
        print(f"{group}: {time.monotonic() - started:.0f} s", file=sys.stderr)
        table += rows
        if folder is not None:  # at once: a run of half an hour may be interrupted
            write_results(rows, folder / group, f"python -m tests.benchmarks {group}", caveats(group))
            write_summary(folder, GROUPS)
    print(format_table(table))
    print(*(f"- {note}" for note in [*notes, *caveats(*chosen)]), sep="\n")
    sys.exit(failed)


def caveats(*groups: str) -> list[str]:
    """What figures of these groups lack on this machine."""
    found = []
    if not os.environ.get("GLOSS_TUNE_DATA") and {*groups} & {
        "training",
        "auto",
        "quality",
        "memory",
        "studies",
    }:
        found.append("MR and R8 were not on this machine (GLOSS_TUNE_DATA); stdlib took their place")
    if "training" in groups and not os.environ.get("GLOSS_AUTHORS"):
        found.append("the authors' loop: not run, because GLOSS_AUTHORS names no copy of their repository")
    return found


def why_not(group: str, *, quick: bool) -> str:
    """Why a group cannot run here; empty if it can."""
    if group == "gpu" and not quick:
        import torch

        if not torch.cuda.is_available():
            return "there is no CUDA device"
    if group == "pruning":
        from tests.benchmarks.pruning import recorded

        if recorded() is None:
            return "there are no recorded curves (results/*_curves/curves.json)"
    return ""


if __name__ == "__main__":
    main()
