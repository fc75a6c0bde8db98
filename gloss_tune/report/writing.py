"""From a study to the files of its report."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import FrozenTrial

from gloss_tune import __version__
from gloss_tune.atomic import write_whole
from gloss_tune.errors import GlossTuneError, InputError
from gloss_tune.filesystem import why_not_writable
from gloss_tune.logging import logger
from gloss_tune.report import model_charts, search_charts
from gloss_tune.report.document import Pictures, report_text
from gloss_tune.report.embedding_map import embed_before_and_after, kept_model
from gloss_tune.report.facts import Facts, gather
from gloss_tune.report.page import page
from gloss_tune.report.publish import publish
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.artifacts.store import CONFUSION, artifact_store

TEXT, PAGE, PICTURES = "report.md", "report.html", "pictures"
_NOTED_TRIALS = 5


@dataclass(frozen=True)
class ReportOptions:
    """What to write, and from what.

    Args:
        output: folder for the report; made where it is missing. Files of an earlier report are replaced.
        artifacts: folder of what the trials left.
        model: folder of a model for the embedding map; None for the one that the study kept of its best trial.
        data_dir: folder of ``NAME/{train,val,test}.csv``, for the map.
        device: for the map.
        publish: whether to put pictures and notes into optuna-dashboard; needs a study opened for writing.
    """

    output: Path
    artifacts: Path
    model: Path | None = None
    data_dir: Path | None = None
    device: str = "auto"
    publish: bool = True


def write_report(opened: OpenStudy, options: ReportOptions) -> list[Path]:
    """Write ``report.md`` with ``pictures/*.svg``, and ``report.html``, which has them inside.

    Returns:
        The files to open, Markdown and HTML.

    Raises:
        InputError: the study is a confirmation, the folder cannot be written, ``options.model`` is no model of this
            study, or matplotlib is missing. Nothing was written.
    """
    why = why_not_writable(options.output)
    if why is not None or options.output.is_file():
        raise InputError(
            f"{options.output} cannot be written ({why or 'it is a file'}); choose another --output"
        )
    facts = gather(opened)
    pictures = _draw_all(facts, options)
    text = report_text(facts, pictures)
    footer = f"Written by gloss-tune {__version__} on {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC."
    html = page(text, pictures.drawn, f"gloss-tune: {opened.name}", footer)
    folder = options.output / PICTURES
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, svg in pictures.drawn.items():
            write_whole(folder / f"{name}.svg", svg)
        write_whole(options.output / TEXT, f"{text}\n{footer}\n")
        write_whole(options.output / PAGE, html)
    except OSError as error:
        raise GlossTuneError(
            f"The report cannot be written to {options.output} ({error}); fix that and repeat"
        ) from error
    if options.publish:
        publish(facts, pictures.drawn, _trial_pictures(facts, options), options.artifacts)
    return [options.output / TEXT, options.output / PAGE]


def _draw_all(facts: Facts, options: ReportOptions) -> Pictures:
    pictures = Pictures()

    def add(name: str, enough: bool, why_not: str, paint: Callable[[], bytes]) -> None:
        if enough:
            pictures.drawn[name] = paint()
        else:
            pictures.missing[name] = why_not

    best = None if facts.best is None else int(facts.best["best"]["number"])
    spec = facts.opened.spec
    reported = any(trial.intermediate_values for trial in facts.trials)
    timed = any(
        trial.datetime_complete is not None and trial.datetime_start is not None for trial in facts.trials
    )
    some, none_yet = bool(facts.finished), "no trial has a result yet"
    add("history", some, none_yet, lambda: search_charts.history(facts))
    add(
        "importances", facts.importances is not None,
        "importances need at least eight complete trials that differ in two hyperparameters",
        lambda: search_charts.importances(facts),
    )  # fmt: skip
    searched = some and bool(spec.ranges)
    add("slices", searched, none_yet, lambda: search_charts.slices(facts))
    add(
        "parallel", searched and bool(facts.complete), "no trial is complete yet",
        lambda: search_charts.parallel_coordinates(facts),
    )  # fmt: skip
    add("curves", reported, "no epoch was reported yet", lambda: search_charts.learning_curves(facts, best))
    add("timeline", timed, "no trial has ended yet", lambda: search_charts.timeline(facts))
    if best is not None and not spec.rehearse:
        _draw_model(facts, options, best, add)
    return pictures


def _draw_model(
    facts: Facts,
    options: ReportOptions,
    best: int,
    add: Callable[[str, bool, str, Callable[[], bytes]], None],
) -> None:
    found = _confusion(facts, options.artifacts, best)
    add(
        "confusion", found is not None,
        f"the artifacts folder {options.artifacts.name} has no confusion matrix of trial {best}",
        lambda: model_charts.confusion(*found) if found is not None else b"",
    )  # fmt: skip
    model = options.model or kept_model(facts.opened, options.artifacts, best)
    if model is None:
        add(
            "map", False,
            "an embedding map needs the best trial's model; make the study with --keep 1, or run 'gloss-tune retrain "
            "--output DIR' and give the folder by --model DIR",
            bytes,
        )  # fmt: skip
        return
    logger.info("Embedding validation documents before and after tuning.")
    both = embed_before_and_after(facts.opened, model, data_dir=options.data_dir, device=options.device)
    add(
        "map",
        True,
        "",
        lambda: model_charts.embedding_map(both.before, both.after, both.labels, both.classes),
    )


def _trial_pictures(facts: Facts, options: ReportOptions) -> dict[int, dict[str, bytes]]:
    found: dict[int, dict[str, bytes]] = {}
    for trial in facts.top(_NOTED_TRIALS):
        own = found[trial.number] = {}
        if trial.intermediate_values:
            own["learning-curve"] = search_charts.top_curve([trial], facts.opened.spec.metric)
        matrix = _confusion(facts, options.artifacts, trial.number)
        if matrix is not None:
            own["confusion"] = model_charts.confusion(*matrix)
    return found


def _confusion(facts: Facts, artifacts: Path, number: int) -> tuple[list[str], NDArray[np.int64]] | None:
    """Classes and matrix of a trial as its worker left them; None where they are not there."""
    trial = next((trial for trial in facts.trials if trial.number == number), None)
    content = None if trial is None else _attached(facts.opened, trial, CONFUSION, artifacts)
    if content is None:
        return None
    header, *rows = csv.reader(io.StringIO(content))
    return header[1:], np.array([[int(cell) for cell in row[1:]] for row in rows])


def _attached(opened: OpenStudy, trial: FrozenTrial, filename: str, artifacts: Path) -> str | None:
    if not artifacts.is_dir():
        return None
    metas = {meta.artifact_id: meta for meta in get_all_artifact_meta(trial, storage=opened.storage)}
    for key in reversed(trial.system_attrs):  # these are in the order of writing: the last attempt counts
        meta = metas.get(key.rpartition(":")[2])
        if meta is not None and meta.filename == filename:
            try:
                with artifact_store(artifacts).open_reader(meta.artifact_id) as file:
                    return file.read().decode()
            except (OSError, KeyError):  # another machine's folder
                return None
    return None
