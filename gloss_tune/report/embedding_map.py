"""What tuning did to the embeddings: the same validation documents under the encoder before and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gloss_tune.cores import CoreShare
from gloss_tune.errors import InputError
from gloss_tune.faults import lost_device_told
from gloss_tune.finetune.device import pick_device
from gloss_tune.seeding import derive_seed
from gloss_tune.study.encoder import study_encoder
from gloss_tune.study.inputs import check_same_inputs, study_dataset
from gloss_tune.study.study import OpenStudy
from gloss_tune.workers.artifacts.trial_files import MODELS

# a picture of more points shows no more
_MOST_DOCUMENTS = 1000


@dataclass(frozen=True)
class BeforeAndAfter:
    """Embeddings of the same documents.

    Args:
        before: (N, D), by the encoder as the study found it.
        after: (N, D), by the tuned one.
        labels: (N,), indices into ``classes``.
        classes: C names.
    """

    before: NDArray[np.floating]
    after: NDArray[np.floating]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def kept_model(opened: OpenStudy, artifacts: Path, number: int) -> Path | None:
    """Folder of a trial's model, where the study keeps its best ones; None where it is not there."""
    folder = artifacts / MODELS / opened.files / f"trial-{number}"
    return folder if folder.is_dir() else None


@lost_device_told()
def embed_before_and_after(
    opened: OpenStudy, model: Path, *, data_dir: Path | None = None, device: str = "auto"
) -> BeforeAndAfter:
    """Embed a thousand of the study's validation documents at most, chosen by the study's seed.

    Args:
        opened: no rehearsal.
        model: folder of a model that the study kept or ``retrain`` wrote.
        data_dir: folder of ``NAME/{train,val,test}.csv``.
        device: ``auto``, ``cpu``, ``cuda:0`` …

    Raises:
        InputError: the model is none, or classifies into other classes.
        StudyMismatchError: data set or encoder on this machine are not the study's.
    """
    from gloss_tune.data import tokenize_texts
    from gloss_tune.encoder import Encoder
    from gloss_tune.finetune.classifier import load_classifier
    from gloss_tune.finetune.embedding import embed_split
    from gloss_tune.finetune.precision import autocast

    dataset = study_dataset(opened.spec, data_dir, made_with=opened.dataset)
    encoder = study_encoder(opened.spec, opened.encoder)
    check_same_inputs(opened, dataset, encoder)
    chosen = pick_device(device)
    CoreShare(chosen, None).share_cores()
    classifier = load_classifier(model, chosen, trust_remote_code=encoder.trust_remote_code)
    if classifier.classes != tuple(dataset.classes):
        raise InputError(
            f"{model} classifies into {', '.join(classifier.classes)[:80]}, the study's data set has "
            f"{', '.join(dataset.classes)[:80]}; name a model of this study"
        )
    order = np.random.default_rng(derive_seed(opened.spec.seed, "map")).permutation(len(dataset.val))
    places = np.sort(order[:_MOST_DOCUMENTS])
    texts = [dataset.val.texts[place] for place in places]
    after, _ = classifier.outputs(texts)
    loaded = Encoder.load(encoder, device=chosen, max_length=opened.spec.longest_documents)
    tokens = tokenize_texts(texts, loaded.preprocessor, opened.spec.longest_documents)
    before = embed_split(loaded, tokens, autocast(classifier.precision, loaded.device), lambda: None)
    return BeforeAndAfter(
        before.float().cpu().numpy(),
        after.float().cpu().numpy(),
        dataset.val.labels[places],
        tuple(dataset.classes),
    )
