"""What a study computes on: its data set and encoder on this machine, and whether they are those it was made with."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gloss_tune.data import DATASETS, Layout, TextDataset, load_dataset, subsample, subsample_val
from gloss_tune.data.hub_name import is_hub_name
from gloss_tune.encoder import ResolvedEncoder
from gloss_tune.errors import DataError, StudyMismatchError
from gloss_tune.filesystem import expanded, is_there
from gloss_tune.spec.spec import StudySpec
from gloss_tune.study.encoder import encoder_like
from gloss_tune.study.study import OpenStudy

if TYPE_CHECKING:
    from gloss_tune.data import TextDataset


def check_same_inputs(
    opened: OpenStudy, dataset: TextDataset | None = None, encoder: ResolvedEncoder | None = None
) -> None:
    """Refuse what the study was not made with; what is not given is not compared.

    Raises:
        StudyMismatchError: data set or encoder differ, with each field that does.
    """
    found = [] if dataset is None else differences(dict(opened.dataset), describe(dataset), "dataset.")
    if encoder is not None:
        found += differences(dict(opened.encoder), encoder_like(opened.encoder, encoder), "encoder.")
    if found:
        raise StudyMismatchError(
            opened.name, found, "Give this machine the study's own data (--data-dir) and encoder."
        )


def portable(spec: StudySpec) -> StudySpec:
    """The specification with the paths of the user's own data and encoder made absolute: workers start anywhere."""
    found = {}
    path = expanded(spec.dataset)
    if spec.dataset not in DATASETS and is_there(path) and (path.is_file() or path.is_dir()):
        found["dataset"] = str(path.resolve())
    if (path := expanded(spec.model)).is_dir():
        found["model"] = str(path.resolve())
    return spec.model_copy(update=found)


def study_dataset(
    spec: StudySpec,
    data_dir: Path | None,
    *,
    download: bool = True,
    made_with: Mapping[str, Any] | None = None,
) -> TextDataset:
    """The data set of a study, sampled where the study says so.

    Args:
        spec: of the study.
        data_dir: folder of ``NAME/{train,val,test}.csv``.
        download: whether a published data set may be downloaded.
        made_with: what the study remembers of its data, if it is made already. Only then is a file that is not at its
            place looked for in ``data_dir``, as on another machine, and are the rules of release 0.1 tried where
            today's give other data: whoever passes it compares fingerprints.
    """
    source = spec.dataset
    known = source in DATASETS or is_hub_name(source)
    moved = made_with is not None and not known and not Path(source).exists()
    if moved and data_dir is not None and (there := data_dir / Path(source).name).exists():
        source = str(there)
    dataset = _load(spec, source, data_dir, download=download)
    wanted = None if made_with is None else made_with.get("fingerprint")
    if wanted not in (None, dataset.fingerprint) and not dataset.reading.known:
        with contextlib.suppress(DataError):
            before = _load(spec, source, data_dir, download=download, as_before=True)
            dataset = before if before.fingerprint == wanted else dataset
    if spec.max_train_docs is not None:
        dataset = subsample(dataset, spec.max_train_docs, spec.seed)
    if spec.max_val_docs is not None:
        dataset = subsample_val(dataset, spec.max_val_docs, spec.seed)
    return dataset


def _load(
    spec: StudySpec, source: str, data_dir: Path | None, *, download: bool, as_before: bool = False
) -> TextDataset:
    return load_dataset(
        source,
        data_dir=data_dir,
        text_column=spec.text_column,
        label_column=spec.label_column,
        layout=Layout(encoding=spec.encoding, separator=spec.separator, header=not spec.no_header),
        seed=spec.seed,
        download=download,
        as_before=as_before,
    )


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
