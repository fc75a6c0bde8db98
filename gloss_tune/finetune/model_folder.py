"""A model as a folder: ``SentenceTransformer(folder)`` loads the encoder, the linear head and a description lie beside.

``head.safetensors`` holds ``weight`` (C, D) and ``bias`` (C,); the head sees embeddings of length 1. The description,
``gloss_tune.json``, says at least ``format``, ``classes`` and ``max_length``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gloss_tune.atomic import write_whole
from gloss_tune.errors import InputError
from gloss_tune.finetune.config import PRECISIONS

if TYPE_CHECKING:
    from torch import nn

    from gloss_tune.encoder import Encoder

HEAD = "head.safetensors"
DESCRIPTION = "gloss_tune.json"
FORMAT = 1


@dataclass(frozen=True)
class ModelDescription:
    """What is needed to classify with a model's folder.

    Args:
        classes: C ≥ 2 label names in the order of the head's outputs.
        max_length: tokens a document at most.
        precision: ``bfloat16`` or ``float32`` as it was measured with, or ``auto``.
        measured_on: the type of the device that it was measured on; empty where nobody knows.
    """

    classes: tuple[str, ...]
    max_length: int
    precision: str
    measured_on: str


def write_model(folder: Path, encoder: Encoder, head: nn.Linear, description: Mapping[str, Any]) -> None:
    """Fill a folder with a model.

    Args:
        folder: exists and is empty.
        description: see :func:`write_description`.

    Raises:
        OSError, RuntimeError, SafetensorError: it cannot be written; three writers, each with its own for a full disk.
    """
    from safetensors.torch import save_file

    with _longest_text(encoder, description["max_length"]):
        encoder.save(folder)
    weights = {name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()}
    save_file(weights, folder / HEAD)
    write_description(folder, description)


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    """Say what a model is, in place of what was said before.

    Args:
        description: fit for JSON, at least ``classes`` and ``max_length``; ``format`` and how to use the head are
            added.
    """
    # logits (N, C) = embeddings (N, D) of length 1, times weight (C, D) transposed, plus bias (C,)
    whole = {"format": FORMAT, **description, "head": {"file": HEAD, "input": "embeddings of length 1"}}
    text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(folder / DESCRIPTION, text + "\n")


def read_description(folder: Path) -> ModelDescription:
    """What a model's folder says of itself.

    Raises:
        InputError: it is no such folder, or its description is not what :func:`write_model` wrote.
    """
    path = folder / DESCRIPTION
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"A model is a folder that 'gloss-tune retrain' wrote, with {DESCRIPTION} in it; {path} cannot be read "
            f"({error.strerror}). Check the path"
        ) from None
    except ValueError as error:
        raise InputError(f"{path} must be JSON, it is not ({error}); retrain the model") from None
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        found = stored.get("format") if isinstance(stored, dict) else None
        raise InputError(
            f"{path} must be of format {FORMAT}, it is of {found!r}; use the gloss-tune that wrote it, or retrain"
        )
    try:
        classes, max_length = stored["classes"], stored["max_length"]
        precision = stored.get("precision") or stored.get("params", {}).get("precision", "auto")
        measured_on = str(stored.get("device", "")).partition(":")[0]
    except (KeyError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error!r}); retrain the model") from None
    named = isinstance(classes, list) and len(classes) > 1 and all(isinstance(name, str) for name in classes)
    whole = isinstance(max_length, int) and max_length > 0
    if not named or not whole or precision not in PRECISIONS:
        raise InputError(
            f"{path} must name two classes or more, max_length and a precision; it has classes {classes!r:.60}, "
            f"max_length {max_length!r:.20} and precision {precision!r:.20}; retrain the model"
        )
    return ModelDescription(tuple(classes), max_length, precision, measured_on)


@contextmanager
def _longest_text(encoder: Encoder, tokens: int) -> Iterator[None]:
    """The encoder cuts texts as this model did in training; its next run may have longer ones."""
    before = encoder.model.max_seq_length
    encoder.model.max_seq_length = tokens
    try:
        yield
    finally:
        encoder.model.max_seq_length = before
