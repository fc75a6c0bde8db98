"""What a benchmark measured, as one table in which every row is a ratio, and as a folder under ``results/``."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("gloss-tune", "torch", "transformers", "sentence-transformers", "optuna", "sqlalchemy", "numpy")


@dataclass(frozen=True)
class Row:
    """One figure beside what it is compared with.

    Args:
        group: heading under which it stands, such as ``training``.
        what: what was measured, with all that decides it (data set, batch, threads).
        unit: of both figures, such as ``documents/s``.
        raw: one figure a run.
        peer: what it is compared with: a peer of the same run, or a limit.
        peer_raw: the peer's figures; one where it is a limit.
        goal: what the ratio should be, in words; empty for none.
    """

    group: str
    what: str
    unit: str
    raw: Sequence[float]
    peer: str
    peer_raw: Sequence[float]
    goal: str = ""

    @property
    def median(self) -> float:
        """Of our runs."""
        return statistics.median(self.raw)

    @property
    def peer_median(self) -> float:
        """Of the peer's runs."""
        return statistics.median(self.peer_raw)

    @property
    def ratio(self) -> float:
        """Ours by the peer's: of the medians."""
        return self.median / self.peer_median


def format_table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, which is also readable in a terminal."""
    lines = ["| what | figure | against | figure | ratio | goal | n |", "|---|---|---|---|---|---|---|"]
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            lines.append(f"| **{group}** | | | | | | |")
        lines.append(
            f"| {row.what} | {_figure(row.median)} {row.unit} | {row.peer} | {_figure(row.peer_median)} {row.unit} "
            f"| {_figure(row.ratio)} | {row.goal} | {len(row.raw)} |"
        )
    return "\n".join(lines)


def write_results(rows: Sequence[Row], folder: Path, command: str, notes: Sequence[str] = ()) -> None:
    """Write ``README.md`` (the table), ``rows.json`` (raw figures) and ``environment.json``.

    Args:
        rows: all of them.
        folder: made where it is missing; files of these names are replaced.
        command: what a reader types to do it again.
        notes: what was not run and why, one line each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = [{**asdict(row), "ratio": row.ratio} for row in rows]
    (folder / "rows.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (folder / "environment.json").write_text(json.dumps(environment(), indent=1) + "\n", encoding="utf-8")
    parts = [
        f"# Benchmarks, {folder.name.split('_')[0]}",
        f"```console\n$ {command}\n```",
        "Medians; each ratio is that of two medians of the same run. Raw figures: `rows.json`; machine and versions: "
        "`environment.json`.",
        format_table(rows),
        *(f"- {note}" for note in notes),
    ]
    (folder / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def write_summary(folder: Path, groups: Sequence[str]) -> None:
    """Write ``README.md``: one table of all groups that :func:`write_results` has written into folders of ``folder``.

    Args:
        folder: of a run, or of several runs of single groups.
        groups: in this order; those that are not there are named.
    """
    there = [group for group in groups if (folder / group / "rows.json").is_file()]
    rows, cores = [], set()
    for group in there:
        stored = json.loads((folder / group / "rows.json").read_text(encoding="utf-8"))
        rows += [Row(**{key: value for key, value in row.items() if key != "ratio"}) for row in stored]
        machine = json.loads((folder / group / "environment.json").read_text(encoding="utf-8"))
        cores.add(f"{machine['processor']}, {machine['cores']} cores, {machine['gpu'] or 'no GPU'}")
    missing = [group for group in groups if group not in there]
    parts = [
        f"# Benchmarks, {folder.name.split('_')[0]}",
        "```console\n$ make bench\n```",
        f"Machine: {'; '.join(sorted(cores))}. Medians; each ratio is that of two medians of the same run. Each "
        "group's folder has its raw figures, notes, versions and command.",
        format_table(rows),
        *([f"Not measured here: {', '.join(missing)}."] if missing else []),
    ]
    (folder / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def environment() -> dict[str, object]:
    """The machine and the versions, as far as they decide a figure; nothing that names the machine."""
    import torch

    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "vectors": sorted(
            name
            for name, there in getattr(torch.cpu, "get_capabilities", dict)().items()
            if there is True and name.startswith(("amx", "avx"))
        ),
        "onednn": os.environ.get("ONEDNN_MAX_CPU_ISA", "all that the processor has"),
        "load_average": os.getloadavg()[0],
        "gpu": gpu,
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def _figure(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
