"""Make a study: resolve and check everything it depends on, then write it with its budget in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gloss_tune.data import DATASETS, TextDataset
from gloss_tune.errors import DataError, StudyMismatchError
from gloss_tune.logging import logger
from gloss_tune.queue.budget import create_study
from gloss_tune.spec.spec import StudySpec, default_study_name
from gloss_tune.storage.connect import open_storage
from gloss_tune.storage.url import parse_storage_url
from gloss_tune.study.encoder import describe_encoder, encoder_like, study_encoder, try_encoder
from gloss_tune.study.first_trials import first_params
from gloss_tune.study.inputs import describe, differences, portable, study_dataset
from gloss_tune.study.study import OpenStudy, check_name, open_study, to_attributes

#: What a rehearsal remembers of a data set that is not on this machine.
_NO_DATA = {"fingerprint": None, "n_train": None, "n_val": None, "n_classes": None}


@dataclass(frozen=True)
class Created:
    """What ``create`` did.

    Args:
        study: the study, made now or found.
        is_new: whether this call made it.
    """

    study: OpenStudy
    is_new: bool


def create(spec: StudySpec, url: str, name: str | None = None, *, data_dir: Path | None = None) -> Created:
    """Make the study, or find it as it was made before.

    Args:
        spec: what to search.
        url: the storage.
        name: the study's name; by default made of data set, encoder and loss.
        data_dir: folder of ``NAME/{train,val,test}.csv``.

    Raises:
        InputError: if data set, encoder, name or storage is wrong; nothing was written.
        StudyMismatchError: if a study of that name has another specification, data set or encoder.
    """
    spec = portable(spec)
    name = check_name(name or default_study_name(spec))
    parse_storage_url(url)
    dataset, described = _resolve_dataset(spec, data_dir)
    encoder = None if spec.rehearse else study_encoder(spec)
    described_encoder = (
        {"name": spec.model, "fingerprint": None} if encoder is None else describe_encoder(encoder)
    )
    attributes = to_attributes(spec, described, described_encoder)
    storage = open_storage(url, create=True)
    if name not in {s.study_name for s in storage.get_all_studies()}:
        if encoder is not None and dataset is not None:
            logger.info("Encoder %s: %s.", encoder.name, try_encoder(spec, encoder, dataset))
        queued = first_params(spec, dataset)
        with storage.exclusive():
            is_new = create_study(storage, name, attributes, spec.trials, queued, spec.metric)
    else:
        is_new = False
    storage.engine.dispose()
    opened = open_study(url, name)
    if not is_new:
        if encoder is not None:
            described_encoder = encoder_like(opened.encoder, encoder)
        _check_same(opened, spec, described, described_encoder)
    return Created(opened, is_new)


def _resolve_dataset(spec: StudySpec, data_dir: Path | None) -> tuple[TextDataset | None, dict[str, Any]]:
    try:
        dataset = study_dataset(spec, data_dir, download=not spec.rehearse)
    except DataError:
        if not (spec.rehearse and spec.dataset in DATASETS):
            raise
        logger.info("Data set %r is not on this machine; a rehearsal needs none and goes on.", spec.dataset)
        return None, {"name": spec.dataset, **_NO_DATA}
    for warning in dataset.warnings:
        logger.warning("Data set %s: %s", dataset.name, warning)
    return dataset, describe(dataset)


def _check_same(
    opened: OpenStudy, spec: StudySpec, dataset: Mapping[str, Any], encoder: Mapping[str, Any]
) -> None:
    stored = dict(opened.dataset)
    if spec.rehearse:  # made or repeated on a machine without the data: compare what both have seen
        stored = {key: value if dataset[key] is not None else None for key, value in stored.items()}
        dataset = {key: value if stored[key] is not None else None for key, value in dataset.items()}
    was = opened.spec
    if spec.trials == opened.first_budget:  # the study has grown since
        was = was.model_copy(update={"trials": spec.trials})
    found = [
        *differences(was.to_dict(), spec.to_dict()),
        *differences(stored, dict(dataset), "dataset."),
        *differences(dict(opened.encoder), dict(encoder), "encoder."),
    ]
    if not found:
        return
    more = spec.trials - opened.spec.trials
    if more > 0 and len(found) == 1 and found[0].startswith("trials: "):
        advice = f"'gloss-tune extend --study {opened.name} --trials {more}' adds them."
    else:
        advice = "Repeat it as it was, or give the new one another --study name."
    raise StudyMismatchError(opened.name, found, advice)
