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
    known = known or {}
    return resolve_encoder(
        spec.model,
        revision=known.get("revision"),
        trust_remote_code=spec.trust_remote_code,
        code_revision=known.get("code_revision"),
        prompt=spec.prompt,
    )


def describe_encoder(encoder: ResolvedEncoder) -> dict[str, Any]:
    """What a study remembers of its encoder."""
    commits = {"revision": encoder.revision, "code_revision": encoder.code_revision}
    return {
        "name": encoder.name,
        "fingerprint": encoder.fingerprint,
        **{name: commit for name, commit in commits.items() if commit is not None},
    }


def encoder_like(known: Mapping[str, Any], encoder: ResolvedEncoder) -> dict[str, Any]:
    """The encoder described as a study describes its own, which an earlier release may have made.

    Where all files are the same, the Hub's commit of them does not matter.
    """
    found = describe_encoder(encoder)
    found.pop("revision", None)
    fingerprint = fingerprint_like(known.get("fingerprint"), encoder.path, encoder.fingerprint)
    revision = {"revision": known["revision"]} if "revision" in known else {}
    return {**found, "fingerprint": fingerprint, **revision}


def try_encoder(spec: StudySpec, encoder: ResolvedEncoder, dataset: TextDataset) -> EncoderCheck:
    """Embed a few training texts; see :func:`~gloss_tune.encoder.check.check_encoder`.

    Raises:
        EncoderError: the encoder cannot be used for this study.
    """
    from gloss_tune.encoder.check import check_encoder, some_of

    precision = str(spec.train["precision"])
    return check_encoder(encoder, some_of(dataset.train.texts), spec.longest_documents, precision)
