"""What a study computes on: its data set and encoder on this machine, and whether they are those it was made with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gloss_tune.data import DATASETS, TextDataset, load_dataset, subsample
from gloss_tune.encoder import ResolvedEncoder
from gloss_tune.errors import StudyMismatchError
from gloss_tune.spec.spec import StudySpec
from gloss_tune.study.encoder import encoder_like
from gloss_tune.study.study import OpenStudy

if TYPE_CHECKING:
    from gloss_tune.data import TextDataset


def check_same_inputs(opened: OpenStudy, dataset: TextDataset, encoder: ResolvedEncoder) -> None:
    """Refuse what the study was not made with.

    Raises:
        StudyMismatchError: data set or encoder differ, with each field that does.
    """
    found = [
        *differences(dict(opened.dataset), describe(dataset), "dataset."),
        *differences(dict(opened.encoder), encoder_like(opened.encoder, encoder), "encoder."),
    ]
    if found:
        raise StudyMismatchError(
            opened.name, found, "Give this worker the study's own data (--data-dir) and encoder."
        )


def portable(spec: StudySpec) -> StudySpec:
    """The specification with the paths of the user's own data and encoder made absolute: workers start anywhere."""
    found = {}
    if spec.dataset not in DATASETS and Path(spec.dataset).exists():
        found["dataset"] = str(Path(spec.dataset).resolve())
    if Path(spec.model).is_dir():
        found["model"] = str(Path(spec.model).resolve())
    return spec.model_copy(update=found)


def study_dataset(spec: StudySpec, data_dir: Path | None, *, download: bool = True) -> TextDataset:
    """The data set of a study, with its training documents sampled if the study says so."""
    source = spec.dataset
    if source not in DATASETS and not Path(source).exists() and data_dir is not None:
        source = str(data_dir / Path(source).name)  # the same folder under another root, on another machine
    dataset = load_dataset(
        source,
        data_dir=data_dir,
        text_column=spec.text_column,
        label_column=spec.label_column,
        seed=spec.seed,
        download=download,
    )
    if spec.max_train_docs is not None:
        dataset = subsample(dataset, spec.max_train_docs, spec.seed)
    return dataset


def describe(dataset: TextDataset) -> dict[str, Any]:
    """What a study remembers of its data set."""
    return {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "n_train": len(dataset.train),
        "n_val": len(dataset.val),
        "n_classes": len(dataset.classes),
    }


def differences(stored: Mapping[str, Any], asked: Mapping[str, Any], prefix: str = "") -> list[str]:
    """One line per differing field: ``key: the study has A, got B``."""
    lines = []
    for key in sorted({*stored, *asked}):
        there, here = stored.get(key), asked.get(key)
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            lines.extend(differences(there, here, f"{prefix}{key}."))
        elif there != here:
            lines.append(f"{prefix}{key}: the study has {_shown(there)}, got {_shown(here)}")
    return lines


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)
