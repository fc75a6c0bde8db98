"""Make a study: resolve and check everything it depends on, then write it with its budget in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gloss_tune.data import DATASETS, TextDataset, subsample
from gloss_tune.data.hub import pin
from gloss_tune.data.hub_name import is_hub_name
from gloss_tune.encoder import ResolvedEncoder
from gloss_tune.encoder.resolve import needs_download
from gloss_tune.errors import DataError, SpecError, StorageError, StudyMismatchError
from gloss_tune.logging import logger
from gloss_tune.metrics import missing_classes
from gloss_tune.queue.budget import create_study
from gloss_tune.spec.prior import has_prior
from gloss_tune.spec.space import Space
from gloss_tune.spec.spec import StudySpec, default_study_name
from gloss_tune.storage.connect import open_storage
from gloss_tune.storage.study_attributes import study_attribute
from gloss_tune.storage.url import parse_storage_url
from gloss_tune.study.account import say_what_was_read, with_val_sample
from gloss_tune.study.customary import SHIPPED_PRIORS, say_priors, size_of, with_priors
from gloss_tune.study.encoder import describe_encoder, encoder_like, study_encoder, try_encoder
from gloss_tune.study.first_trials import first_params
from gloss_tune.study.hub_sampler import pin_sampler
from gloss_tune.study.inputs import describe, differences, portable, study_dataset
from gloss_tune.study.priors import history
from gloss_tune.study.study import EXTENSIONS, OpenStudy, check_name, open_study, to_attributes

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


def create(
    spec: StudySpec,
    url: str,
    name: str | None = None,
    *,
    data_dir: Path | None = None,
    imported: OpenStudy | None = None,
) -> Created:
    """Make the study, or find it as it was made before.

    Args:
        spec: what to search.
        url: the storage.
        name: the study's name; by default made of data set, encoder and loss.
        data_dir: folder of ``NAME/{train,val,test}.csv``.
        imported: a study whose finished trials count as this one's history, beside its budget.

    Raises:
        InputError: if data set, encoder, name or storage is wrong; nothing was written.
        StudyMismatchError: if a study of that name has another specification, data set or encoder.
    """
    asked = pin_sampler(portable(spec))
    name = check_name(name or default_study_name(spec))
    parse_storage_url(url)
    spec, dataset = resolve_data(asked, data_dir)
    described = {"name": spec.dataset, **_NO_DATA} if dataset is None else describe(dataset)
    if dataset is not None:
        _check_metric(spec.metric, dataset)
    encoder = None if spec.rehearse else study_encoder(spec)
    described_encoder = (
        {"name": spec.model, "fingerprint": None} if encoder is None else describe_encoder(encoder)
    )
    size = size_of(spec, encoder)
    spec, shipped = with_priors(spec, size, first=imported is None)
    past = [] if imported is None else history(imported, spec, described, described_encoder)
    attributes = to_attributes(
        spec.model_copy(update={"trials": spec.trials + len(past)}), described, described_encoder
    )
    if shipped:
        attributes[SHIPPED_PRIORS] = shipped
    if imported is not None:
        attributes[EXTENSIONS] = [{"kind": "import", "token": imported.files, "trials": len(past)}]
    is_new = not _is_there(url, name)
    if is_new:  # all that may be refused comes before the storage is made
        if encoder is not None:
            _say_of_encoder(spec, encoder, dataset)
        say_priors(spec, shipped)
        queued = first_params(spec, dataset, size)
        storage = open_storage(url, create=True)
        is_new = create_study(storage, name, attributes, spec.trials, queued, spec.metric, history=past)
        storage.engine.dispose()
    opened = open_study(url, name)
    if not is_new:
        if encoder is not None:
            described_encoder = encoder_like(opened.encoder, encoder)
        spec = _with_priors_as_made(opened, asked, spec)
        spec, described = _as_it_was_made(opened, asked, spec, described, data_dir)
        _check_same(opened, spec, described, described_encoder)
    return Created(opened, is_new)


def try_out(spec: StudySpec, data_dir: Path | None) -> StudySpec:
    """All that :func:`create` checks of a specification, data and encoder; nothing is written or downloaded.

    Args:
        spec: of the study that may be made.
        data_dir: folder of ``NAME/{train,val,test}.csv``.

    Returns:
        The specification, complete with what depends on the data.

    Raises:
        InputError: as ``create`` would.
    """
    spec, dataset = resolve_data(pin_sampler(portable(spec)), data_dir, download=False)
    if dataset is not None:
        _check_metric(spec.metric, dataset)
    encoder = None
    if not spec.rehearse and needs_download(spec.model):
        logger.info("Encoder %r is not on this machine, and is tried when the study is made.", spec.model)
    elif not spec.rehearse:
        encoder = study_encoder(spec)
        _say_of_encoder(spec, encoder, dataset)
    spec, shipped = with_priors(spec, size_of(spec, encoder))
    say_priors(spec, shipped)
    return spec


def _say_of_encoder(spec: StudySpec, encoder: ResolvedEncoder, dataset: TextDataset | None) -> None:
    if dataset is not None:
        logger.info("Encoder %s: %s.", encoder.name, try_encoder(spec, encoder, dataset))


def _is_there(url: str, name: str) -> bool:
    """Whether the storage has a study of this name; False, too, where there is no storage yet, or none to be read."""
    try:
        storage = open_storage(url, read_only=True)
    except StorageError:
        return False
    try:
        return name in {study.study_name for study in storage.get_all_studies()}
    finally:
        storage.remove_session()
        storage.engine.dispose()


def resolve_data(
    spec: StudySpec, data_dir: Path | None, *, download: bool = True
) -> tuple[StudySpec, TextDataset | None]:
    """Read the data and say what was read; the specification with what depends on them, such as ``max_val_docs``.

    Args:
        spec: of the study.
        data_dir: folder of ``NAME/{train,val,test}.csv``.
        download: whether a published data set may be downloaded; where it may not and is not here, there is None.

    Raises:
        DataError: the data cannot be read, or no trial can be judged by them.
    """
    download = download and not spec.rehearse
    try:
        if is_hub_name(spec.dataset):  # one commit for all workers, whatever is pushed meanwhile
            spec = spec.model_copy(update={"dataset": str(pin(spec.dataset, download=download))})
        whole = study_dataset(spec.model_copy(update={"max_train_docs": None}), data_dir, download=download)
    except DataError:
        if download or not (spec.dataset in DATASETS or is_hub_name(spec.dataset)):
            raise
        logger.info("Data set %r is not on this machine, and is not needed yet.", spec.dataset)
        return spec, None
    dataset = whole if spec.max_train_docs is None else subsample(whole, spec.max_train_docs, spec.seed)
    spec, dataset = with_val_sample(spec, dataset)
    say_what_was_read(spec, dataset, len(whole.classes))
    return spec, dataset


def _as_it_was_made(
    opened: OpenStudy, asked: StudySpec, spec: StudySpec, described: dict[str, Any], data_dir: Path | None
) -> tuple[StudySpec, dict[str, Any]]:
    """What is asked for of a study that is there already, by the rules and defaults that held when it was made."""
    if asked.max_val_docs is None:
        spec = spec.model_copy(update={"max_val_docs": opened.spec.max_val_docs})
    stored = opened.dataset
    if described["fingerprint"] is None or described == stored or stored["fingerprint"] is None:
        return spec, described
    return spec, describe(study_dataset(spec, data_dir, made_with=stored))


def _with_priors_as_made(opened: OpenStudy, asked: StudySpec, spec: StudySpec) -> StudySpec:
    """What is asked for, with the priors and the first trial that the study got when it was made.

    A study of a release that knew no priors has none; one that is made with other priors than are asked for differs.
    """
    was = opened.spec
    own = study_attribute(opened.storage, opened.study_id, SHIPPED_PRIORS) or []
    ranges = [
        replace(searched, prior=was.space[searched.name].prior, spread=was.space[searched.name].spread)
        if searched.name in own and searched.prior is None and asked.priors and searched.name in was.space
        else searched
        for searched in asked.ranges
    ]
    changed: dict[str, Any] = {"space": Space(tuple(ranges))}
    if (
        not asked.first_trials
        and was.first_trials in ((), ("customary",))
        and has_prior(ranges) == has_prior(was.ranges)
    ):
        changed["first_trials"] = was.first_trials
    if was.priors and not has_prior(was.ranges):
        changed["priors"] = True
    return spec.model_copy(update=changed)


def _check_metric(metric: str, dataset: TextDataset) -> None:
    """Refuse a metric that is not defined on the validation documents: every trial would fail for it."""
    missing = missing_classes(dataset.val.labels, len(dataset.classes))
    present = len(dataset.classes) - len(missing)
    if (metric == "val_auc" and missing) or (metric == "val_silhouette" and present < 2):
        names = ", ".join(repr(dataset.classes[number]) for number in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        needs = "documents of every class" if metric == "val_auc" else "documents of two classes at least"
        raise SpecError(
            [
                f"metric: {metric} needs {needs} in validation, which has none of {names}{more}; "
                "add some, or choose another metric, such as val_macro_f1"
            ]
        )


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
