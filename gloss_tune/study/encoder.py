"""A study's encoder: found, tried on the study's texts, and whether it is the one that the study was made with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gloss_tune.encoder import ResolvedEncoder, resolve_encoder
from gloss_tune.encoder.fingerprint import fingerprint_like
from gloss_tune.spec.spec import StudySpec

if TYPE_CHECKING:
    from gloss_tune.data import TextDataset
    from gloss_tune.encoder.check import EncoderCheck


def study_encoder(spec: StudySpec, known: Mapping[str, Any] | None = None) -> ResolvedEncoder:
    """Find the encoder.

    Args:
        spec: the study's.
        known: what the study remembers of its encoder, once there is a study: the Hub's commit, above all.

    Raises:
        EncoderError: it is not to be found, or not whole.
    """
    return resolve_encoder(spec.model, revision=(known or {}).get("revision"))


def describe_encoder(encoder: ResolvedEncoder) -> dict[str, Any]:
    """What a study remembers of its encoder."""
    described = {"name": encoder.name, "fingerprint": encoder.fingerprint}
    return described if encoder.revision is None else {**described, "revision": encoder.revision}


def encoder_like(known: Mapping[str, Any], encoder: ResolvedEncoder) -> dict[str, Any]:
    """The encoder described as a study describes its own, which an earlier release may have made.

    Where the weights and all else are the same, the Hub's commit does not matter.
    """
    fingerprint = fingerprint_like(known.get("fingerprint"), encoder.path, encoder.fingerprint)
    revision = {"revision": known["revision"]} if "revision" in known else {}
    return {"name": encoder.name, "fingerprint": fingerprint, **revision}


def try_encoder(spec: StudySpec, encoder: ResolvedEncoder, dataset: TextDataset) -> EncoderCheck:
    """Embed a few training texts; see :func:`~gloss_tune.encoder.check.check_encoder`.

    Raises:
        EncoderError: the encoder cannot be used for this study.
    """
    from gloss_tune.encoder.check import check_encoder, some_of

    precision = str(spec.train["precision"])
    return check_encoder(encoder, some_of(dataset.train.texts), spec.longest_documents, precision)
