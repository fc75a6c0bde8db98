"""The ways of documents through an encoder: without padding, padded, or those of one length at a time.

All take documents that lie end to end, longest first, and give the same embeddings where an encoder allows them; which
one it allows is found out in :mod:`gloss_tune.encoder.choice`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging import ERROR
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging

from gloss_tune.encoder.layout import Layout, from_numpy
from gloss_tune.encoder.packing import packing
from gloss_tune.encoder.preprocess import Preprocessor, segments_of
from gloss_tune.encoder.seeded import ConcurrentPass


class Pass(Protocol):
    """Embeds documents that lie end to end."""

    #: how it is called
    name: str
    #: whether it computes nothing for padding
    packs: bool
    #: whether several threads may run it at once, each in a :class:`ConcurrentPass`
    concurrent: bool

    def __call__(self, input_ids: Tensor, layout: Layout) -> Tensor:
        """Token ids int64 (T,) of the documents of a layout → embeddings (B, D)."""
        ...


class PaddedPass:
    """Pads the documents to their longest, as every encoder takes them.

    Args:
        modules: of the sentence encoder, in their order.
        preprocessor: says what the modules get beside tokens and mask.
        pad_id: token id that fills up shorter documents.
        shortest: tokens that each document is filled up to at least.
    """

    name, packs, concurrent = "padded", False, False

    def __init__(
        self, modules: Sequence[nn.Module], preprocessor: Preprocessor, pad_id: int, shortest: int = 1
    ) -> None:
        self._modules = modules
        self._preprocessor = preprocessor
        self._pad_id = pad_id
        self._shortest = shortest

    def __call__(self, input_ids: Tensor, layout: Layout) -> Tensor:
        """See :class:`Pass`."""
        padded, mask = layout.unpacked((input_ids - self._pad_id)[:, None])
        ids = padded[..., 0] + self._pad_id  # the rectangle's zeros become padding
        if (missing := self._shortest - layout.longest) > 0:
            ids, mask = F.pad(ids, (0, missing), value=self._pad_id), F.pad(mask, (0, missing))
        own = self._preprocessor
        features = {"input_ids": ids, "attention_mask": mask, **own.extras}
        if own.segments is not None:
            features["token_type_ids"] = segments_of(ids, own.segments)
        if own.lengths:
            features["sentence_lengths"] = torch.from_numpy(layout.lengths)
        with as_configured(self._modules[0]):
            return pooled(features, self._modules)


class EqualLengthPass(PaddedPass):
    """Documents of one length at a time, for encoders whose states depend on padding: their masks hide it in part."""

    name = "one length at a time"

    def __call__(self, input_ids: Tensor, layout: Layout) -> Tensor:
        """See :class:`Pass`."""
        cuts = [0, *(np.flatnonzero(np.diff(layout.lengths)) + 1).tolist(), len(layout.lengths)]
        parts = []
        for start, stop in itertools.pairwise(cuts):
            own = Layout(layout.lengths[start:stop], layout.device)
            ids = input_ids[int(layout.offsets[start]) : int(layout.offsets[stop])]
            parts.append(super().__call__(ids, own))
        return torch.cat(parts)


class StaticPass:
    """A table's rows, averaged: nothing lies between the tokens, and there is no padding."""

    name, packs, concurrent = "static", True, False

    def __init__(self, modules: Sequence[nn.Module], preprocessor: Preprocessor) -> None:
        self._modules = modules
        self._extras = preprocessor.extras

    def __call__(self, input_ids: Tensor, layout: Layout) -> Tensor:
        """See :class:`Pass`."""
        offsets = from_numpy(layout.offsets[:-1], layout.device)
        return pooled({"input_ids": input_ids, "offsets": offsets, **self._extras}, self._modules)


class PackedPass:
    """Runs the transformer without padding, and the modules behind it as they are.

    Args:
        transformer: of the encoder's first module, with :mod:`gloss_tune.encoder.attention`.
        rest: the modules that make token states into a sentence embedding.
        first_position: the number of a document's first position.
        extras: what the modules get beside the tokens.
    """

    name, packs, concurrent = "without padding", True, False

    def __init__(
        self,
        transformer: PreTrainedModel,
        rest: Sequence[nn.Module],
        first_position: int,
        extras: dict[str, Any],
    ) -> None:
        self.transformer = transformer
        self._rest = rest
        self._first_position = first_position
        self._extras = extras
        # where layers differ in what they see, no mask is said for each kind: the layout and a layer's window say all
        kinds = set(getattr(transformer.config, "layer_types", None) or ())
        self._mask = dict.fromkeys(kinds) if len(kinds) > 1 else None

    @property
    def modules(self) -> list[nn.Module]:
        """In their order."""
        return [self.transformer, *self._rest]

    def draws_apart(self, input_ids: Tensor, layout: Layout) -> bool:
        """Whether a concurrent pass in training leaves torch's default generator alone, as its dropout is all ours."""
        with torch.random.fork_rng(devices=[]), in_training(self.modules):
            before = torch.get_rng_state()
            with ConcurrentPass(0).entered():
                self(input_ids, layout)
            return torch.equal(torch.get_rng_state(), before)

    def __call__(self, input_ids: Tensor, layout: Layout) -> Tensor:
        """See :class:`Pass`."""
        documents = len(layout.lengths)
        if input_ids.device.type == "cpu":
            layout = layout.filled()
            filling = int(layout.offsets[-1]) - len(input_ids)
            input_ids = torch.cat([input_ids, input_ids.new_zeros(filling)])
        with packing(layout):
            states = self.transformer(
                input_ids=input_ids[None],
                attention_mask=self._mask,
                position_ids=layout.positions[None] + self._first_position,
                layout=layout,
            ).last_hidden_state.squeeze(0)
        padded, mask = layout.unpacked(states)
        features = {"token_embeddings": padded, "attention_mask": mask, **self._extras}
        return pooled(features, self._rest)[:documents]


def pooled(features: dict[str, Any], modules: Sequence[nn.Module]) -> Tensor:
    """What the modules make of the first one's features, in their order."""
    for module in modules:
        features = module(features)
    embeddings: Tensor = features["sentence_embedding"]
    return embeddings


@contextmanager
def in_training(modules: Sequence[nn.Module]) -> Iterator[None]:
    """The modules in training mode, and in evaluation mode again."""
    for module in modules:
        module.train()
    try:
        yield
    finally:
        for module in modules:
            module.eval()


@contextmanager
def as_configured(module: nn.Module) -> Iterator[None]:
    """BigBird goes over to full attention for good once it meets a short document; here for that pass alone."""
    transformer: Any = getattr(module, "auto_model", None)
    before = getattr(transformer, "attention_type", None)
    if not isinstance(before, str):
        yield
        return
    try:
        with quiet_transformers():
            yield
    finally:
        if transformer.attention_type != before:
            transformer.set_attention_type(before)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No warning that an architecture cannot do what we only ask whether it can."""
    before = logging.get_verbosity()
    logging.set_verbosity(ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)
