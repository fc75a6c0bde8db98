"""Texts → token ids as the folder's own ``encode`` makes them: with its prompt, template, case and side of truncation.

Sentence-transformers does the work, whatever the tokenizer; here its padded batches become rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gloss_tune.errors import EncoderError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_PROBE = ["a", "The quick brown fox jumps over 13 lazy dogs, and 7 more of them follow."]
# Of a batch's features, those that differ from text to text; the others hold for all of them.
_OF_TEXTS = ("input_ids", "attention_mask", "token_type_ids", "offsets", "sentence_lengths")


class Preprocessor:
    """Makes the tokens of an encoder's documents.

    Args:
        model: the encoder.
        fingerprint: of its files.
        prompt: goes before each text: a text, or the name of one of the folder's prompts. None for the folder's own
            choice, ``""`` for none.
        name: of the encoder, for errors.
    """

    def __init__(
        self, model: SentenceTransformer, fingerprint: str, prompt: str | None = None, name: str = ""
    ) -> None:
        self._model = model
        self._name = name
        self.prompt = chosen_prompt(model, prompt)
        self._fingerprint = fingerprint
        features = self._features(_PROBE)
        if "input_ids" not in features:
            raise EncoderError(
                f"An encoder's first module must make token ids, got {type(model[0]).__name__} of '{name}', which has "
                "nothing to train; choose another encoder"
            )
        #: what goes to the modules beside the tokens, the same for all texts
        self.extras = {key: value for key, value in features.items() if key not in _OF_TEXTS}
        #: tokens without mask and padding, as tables of static embeddings take them
        self.flat = "offsets" in features
        #: which segment each token belongs to, where that is not the first; None where the encoder has no segments
        self.segments = _segments(features)
        #: whether the modules want to know each document's length
        self.lengths = "sentence_lengths" in features

    @cached_property
    def fingerprint(self) -> str:
        """Of all that decides how texts become ids: the encoder's files, the prompt, and the libraries."""
        import sentence_transformers
        import tokenizers
        import transformers

        versions = [library.__version__ for library in (sentence_transformers, transformers, tokenizers)]
        parts = (self._fingerprint, self.prompt or "", *versions)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def __call__(self, texts: Sequence[str], max_length: int) -> list[NDArray[np.int32]]:
        """The ids of each text.

        Args:
            texts: at least one.
            max_length: tokens of a text at most, special ones and the prompt included; static tables take all.
        """
        with self._cut_at(max_length):
            return self._rows(list(texts))

    def _rows(self, texts: list[str]) -> list[NDArray[np.int32]]:
        features = self._features(texts)
        ids = features["input_ids"].numpy().astype(np.int32)
        if self.flat:
            return np.split(ids, features["offsets"].numpy()[1:])
        if "attention_mask" in features:
            mask = features["attention_mask"].numpy().astype(bool)
            return [row[kept] for row, kept in zip(ids, mask, strict=True)]
        # a batch would not say which of its tokens are padding
        return [ids[0]] if len(texts) == 1 else [self._rows([text])[0] for text in texts]

    def _features(self, texts: list[str]) -> dict[str, Any]:
        model: Any = self._model
        try:
            return dict(model.preprocess(texts, prompt=self.prompt))
        except (TypeError, ValueError, AttributeError, ImportError, RuntimeError, KeyError) as error:
            raise EncoderError(
                f"An encoder's tokenizer must take any text, got '{self._name}': {type(error).__name__}: "
                f"{str(error).strip().partition(chr(10))[0]}; check the folder's tokenizer files or choose another "
                "encoder"
            ) from error

    @contextmanager
    def _cut_at(self, max_length: int) -> Iterator[None]:
        model: Any = self._model
        if self.flat:
            yield
            return
        before = model.max_seq_length
        model.max_seq_length = max_length
        try:
            yield
        finally:
            model.max_seq_length = before


def chosen_prompt(model: SentenceTransformer, prompt: str | None) -> str | None:
    """The text that goes before each document; None or ``""`` for none."""
    prompts = {name: text or "" for name, text in model.prompts.items()}
    if prompt is None:
        return prompts.get(model.default_prompt_name or "")
    return prompts.get(prompt, prompt)


def _segments(features: dict[str, Any]) -> dict[int, int] | None:
    """Token id → segment, for tokens that are not of segment 0: XLNet's last one is of the third."""
    if "token_type_ids" not in features or "attention_mask" not in features:
        return None
    real: Tensor = features["attention_mask"].bool()
    ids, types = features["input_ids"][real].tolist(), features["token_type_ids"][real].tolist()
    return {token: kind for token, kind in zip(ids, types, strict=True) if kind}


def segments_of(ids: Tensor, segments: dict[int, int]) -> Tensor:
    """int64, as ``ids``: the segment of each token."""
    types = torch.zeros_like(ids)
    for token, kind in segments.items():
        types[ids == token] = kind
    return types
