"""A report's pictures and notes in optuna-dashboard: on the study's page, and in the notes of its best trials.

Optuna takes no new attributes of finished trials, so all pictures are artifacts of the study; the trials' notes show
them from there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.trial import FrozenTrial

from gloss_tune.logging import logger
from gloss_tune.markdown import escaped
from gloss_tune.report.document import note_text
from gloss_tune.report.facts import Facts
from gloss_tune.workers.artifacts.store import artifact_store

#: By its last line a note of ours is known; any other note is left alone.
_MARK = "*Written by `gloss-tune report`; a note without this line is left as it is.*"


def publish(
    facts: Facts,
    pictures: Mapping[str, bytes],
    of_trials: Mapping[int, Mapping[str, bytes]],
    artifacts: Path,
) -> None:
    """Write pictures and notes to the study's storage and artifacts folder, in place of those of an earlier call.

    Args:
        facts: the study, opened for writing.
        pictures: SVG by name, for the study's page.
        of_trials: for some of its trials, by number, SVG by name.
        artifacts: folder that the dashboard is given.
    """
    # a sampler that draws nothing: to write a note, Optuna wants a trial that could still draw
    study = optuna.load_study(
        study_name=facts.opened.name, storage=facts.opened.storage, sampler=optuna.samplers.RandomSampler()
    )
    store = artifact_store(artifacts)
    known = {meta.filename: meta.artifact_id for meta in get_all_artifact_meta(study)}

    def put(name: str, svg: bytes) -> str:
        return _put(study, store, known, f"{name}.svg", svg)

    shown = [f"![{name}]({put(name, svg)})" for name, svg in pictures.items()]
    _write_note(study, None, note_text(facts, shown))
    numbered = {trial.number: trial for trial in facts.trials}
    for number, own in of_trials.items():
        lines = [_trial_text(facts, numbered[number])]
        lines += [f"![{name}]({put(f'trial-{number}-{name}', svg)})" for name, svg in own.items()]
        _write_note(study, numbered[number], "\n\n".join(lines))


def _put(
    study: optuna.Study, store: FileSystemArtifactStore, known: dict[str, str], filename: str, content: bytes
) -> str:
    """Write an artifact of the study, over one of the same name; returns the path under which it is served."""
    from optuna_dashboard.artifact import get_artifact_path

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / filename
        path.write_bytes(content)
        if filename in known:
            with path.open("rb") as file:
                store.write(known[filename], file)
        else:
            known[filename] = upload_artifact(
                artifact_store=store, file_path=str(path), study_or_trial=study, mimetype="image/svg+xml"
            )
    return str(get_artifact_path(study, known[filename]))


def _write_note(study: optuna.Study, trial: FrozenTrial | None, text: str) -> None:
    from optuna_dashboard import get_note, save_note

    target = study if trial is None else optuna.Trial(study, trial._trial_id)
    before = get_note(target)
    if before and _MARK not in before:
        where = "study" if trial is None else f"trial {trial.number}"
        logger.warning("The note of the %s in the dashboard is somebody's own; it is left as it is.", where)
        return
    text = f"{text}\n\n{_MARK}\n"
    if text != before:
        save_note(target, text)


def _trial_text(facts: Facts, trial: FrozenTrial) -> str:
    metric = facts.opened.spec.metric
    metrics = trial.user_attrs.get("metrics", {})
    listed = ", ".join(
        f"{escaped(name)} {metrics[name]:.4f}" for name in sorted(metrics) if name.startswith("val_")
    )
    epoch = trial.user_attrs.get("best_epoch")
    text = f"**{escaped(metric)} {trial.value:.4f}**"
    return f"{text} in epoch {epoch}; {listed}." if listed else f"{text}."
