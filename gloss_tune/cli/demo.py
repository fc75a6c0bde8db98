"""``gloss-tune demo``: a real small study, start to finish, on what every machine has."""

from __future__ import annotations

import itertools
import time

from gloss_tune.cli.export_formats import ExportFormat, render
from gloss_tune.cli.options import Storage, emit
from gloss_tune.cli.spec_options import resolve
from gloss_tune.cli.tables import print_trials


def demo(storage: Storage = "sqlite:///gloss-tune-demo.db") -> None:
    """Tune on the documentation strings of this Python's standard library, with the packaged MiniLM, on the CPU.

    Takes under two minutes on two cores and needs no network. Each call makes a new study.
    """
    from gloss_tune.confirm.export import export
    from gloss_tune.launch.group import choose_workers, run_study
    from gloss_tune.logging import logger
    from gloss_tune.signals import stop_on_signal
    from gloss_tune.storage.connect import open_storage
    from gloss_tune.study.status import trials as read_trials
    from gloss_tune.workers.options import worker_options

    start = time.monotonic()
    spec = resolve("demo", {}, [])
    taken = {study.study_name for study in open_storage(storage, create=True).get_all_studies()}
    name = next(
        n for n in itertools.chain(["demo"], (f"demo-{i}" for i in itertools.count(2))) if n not in taken
    )
    logger.info(
        "Study %r: %d trials of %s on %r with %s.", name, spec.trials, spec.loss, spec.dataset, spec.model
    )
    with stop_on_signal(last=True) as stop:
        opened = run_study(spec, storage, name, worker_options(storage), choose_workers("cpu"), stop)
    print_trials(read_trials(opened))
    emit("")
    emit(render(export(opened), ExportFormat.json))
    logger.info("Done in %.0f s. Next:", time.monotonic() - start)
    for command in ("status", "export --format args", "dashboard"):
        logger.info("  gloss-tune %s --storage %s --study %s", command, storage, name)
