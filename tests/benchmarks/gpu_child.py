"""One section of the GPU benchmark in a process of its own: a card that dies costs one section, not the others."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tests.benchmarks.children import children, reply
from tests.benchmarks.gpu_bench import Bench, NotRunError, Section, Settings
from tests.benchmarks.gpu_sections import SECTIONS
from tests.benchmarks.table import Row

#: a section may take so many times what it should, before it is broken off
_PATIENCE = 2.0
_START_SECONDS = 40.0


def in_a_child(section: Section, bench: Bench) -> Iterator[Row]:
    """A section's rows as they come; what it found out for later sections is put into ``bench``.

    Raises:
        NotRunError: it cannot be measured here.
        TimeoutError: it has taken too long.
        RuntimeError: its process has failed, by itself or with the card.
    """
    seconds = min(bench.left, _PATIENCE * section.seconds + _START_SECONDS)
    job = bench.folder / "section.json"
    job.write_text(json.dumps(_job(section.name, bench, seconds)), encoding="utf-8")
    threads = min(8, os.cpu_count() or 1)
    with children("tests.benchmarks.gpu_child", job, bench.folder, seconds=seconds, threads=threads) as (
        child,
    ):
        for line in child.replies():
            said: dict[str, Any] = json.loads(line)
            if "row" in said:
                yield Row(**said["row"])
                continue
            bench.matrix_rates[:] = said["matrix_rates"]
            bench.our_rates[:] = said["our_rates"]
            bench.notes.extend(said["notes"])
            bench.failed |= said["failed"]
            if said["not_run"]:
                raise NotRunError(said["not_run"])


def _job(name: str, bench: Bench, seconds: float) -> dict[str, Any]:
    settings = {
        key: str(value) if isinstance(value, Path) else value for key, value in vars(bench.settings).items()
    }
    return {
        "section": name,
        "settings": settings,
        "folder": str(bench.folder),
        "seconds": seconds,
        "matrix_rates": bench.matrix_rates,
        "our_rates": bench.our_rates,
    }


def _work(job: dict[str, Any]) -> None:
    settings = Settings(**job["settings"])
    folders = {
        name: Path(path) for name in ("output", "authors", "encoder") if (path := getattr(settings, name))
    }
    bench = Bench(replace(settings, **folders), Path(job["folder"]), time.monotonic() + job["seconds"])
    bench.matrix_rates.extend(job["matrix_rates"])
    bench.our_rates.extend(job["our_rates"])
    section = next(section for section in SECTIONS if section.name == job["section"])
    not_run = ""
    try:
        for row in section.measure(bench):
            reply(json.dumps({"row": asdict(row)}))
    except NotRunError as reason:
        not_run = str(reason)
    end = {name: getattr(bench, name) for name in ("matrix_rates", "our_rates", "notes", "failed")}
    reply(json.dumps({**end, "not_run": not_run}))


if __name__ == "__main__":
    _work(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
