"""``gloss-tune demo``: a real small study, start to finish, on what every machine has."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

from gloss_tune.cli.export_formats import ExportFormat, render
from gloss_tune.cli.options import Storage, emit
from gloss_tune.cli.spec_options import layers
from gloss_tune.cli.tables import print_trials

_SECONDS = 100.0


def demo(storage: Storage = "sqlite:///gloss-tune-demo.db") -> None:
    """Tune on the documentation strings of this Python's standard library, with the packaged MiniLM, on the CPU.

    The path of 'gloss-tune run --time': search, confirm, retrain, report. Takes under two minutes on two cores and
    needs no network. Each call makes a new study, and a folder gloss-tune-demo for its model.
    """
    from gloss_tune.launch.group import choose_workers
    from gloss_tune.logging import logger
    from gloss_tune.pipeline.course import Pipeline
    from gloss_tune.pipeline.plan import Given
    from gloss_tune.pipeline.run import run_pipeline
    from gloss_tune.signals import stop_on_signal
    from gloss_tune.spec.build import build_spec
    from gloss_tune.storage.connect import open_storage
    from gloss_tune.study.status import trials as read_trials
    from gloss_tune.workers.options import worker_options

    started = time.monotonic()
    shipped = layers("demo", {}, [])
    taken = {study.study_name for study in open_storage(storage, create=True).get_all_studies()}
    names = itertools.chain(["demo"], (f"demo-{number}" for number in itertools.count(2)))
    name = next(name for name in names if name not in taken and not _folder(name).exists())
    spec = build_spec(*shipped)
    logger.info("Study %r: %s on %r with %s, in %.0f s.", name, spec.loss, spec.dataset, spec.model, _SECONDS)

    def build(layer: dict[str, Any] | None = None) -> Any:
        return build_spec(*shipped, layer or {})

    with stop_on_signal(last=True) as stop:
        pipeline = Pipeline(
            storage,
            name,
            _folder(name),
            worker_options(storage),
            choose_workers("cpu"),
            started,
            stretches=True,
        )
        outcome = run_pipeline(_SECONDS, build, Given(), pipeline, stop)
    print_trials(read_trials(outcome.study))
    emit("")
    emit(render(outcome.exported, ExportFormat.json))
    for line in outcome.lines(pipeline.output, _SECONDS):
        logger.info("%s", line)
    logger.info("Next:")
    for command in ("status", "export --format args", "dashboard"):
        logger.info("  gloss-tune %s --storage %s --study %s", command, storage, name)


def _folder(name: str) -> Path:
    return Path(f"gloss-tune-{name}")
