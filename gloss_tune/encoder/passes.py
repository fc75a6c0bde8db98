"""An encoder's pass over documents that lie end to end: without padding where that gives the same embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging

from gloss_tune.encoder import attention
from gloss_tune.encoder.layout import Layout
from gloss_tune.encoder.seeded import ConcurrentPass
from gloss_tune.faults import is_device_lost, is_out_of_memory
from gloss_tune.logging import logger

_TRIAL_LENGTHS = (7, 4, 3)
_TOLERANCE = 1e-3


class Pass(Protocol):
    """Embeds documents that lie end to end."""

    def __call__(self, input_ids: Tensor, layout: Layout) -> Tensor:
        """Token ids int64 (T,) of the documents of a layout → embeddings (B, D)."""
        ...


class PaddedPass:
    """Pads the documents to their longest, as every encoder takes them.

    Args:
        modules: of the sentence encoder, in their order.
        pad_id: token id that fills up shorter documents.
    """

    def __init__(self, modules: list[nn.Module], pad_id: int) -> None:
        self._modules = modules
        self._pad_id = pad_id

    def __call__(self, input_ids: Tensor, layout: Layout) -> Tensor:
        """See :class:`Pass`."""
        padded, mask = layout.unpacked((input_ids - self._pad_id)[:, None])
        ids = padded[..., 0] + self._pad_id  # the rectangle's zeros become padding
        return _pooled({"input_ids": ids, "attention_mask": mask}, self._modules)


class PackedPass:
    """Runs the transformer without padding, and the modules behind it as they are.

    Args:
        transformer: of the encoder's first module, with :mod:`gloss_tune.encoder.attention`.
        rest: the modules that make token states into a sentence embedding.
        first_position: the number of a document's first position.
    """

    #: whether several threads may run it at once, each in a :class:`ConcurrentPass`
    concurrent = False

    def __init__(self, transformer: PreTrainedModel, rest: list[nn.Module], first_position: int) -> None:
        self.transformer = transformer
        self._rest = rest
        self._first_position = first_position
        # where layers differ in what they see, no mask is said for each kind: the layout and a layer's window say all
        kinds = set(getattr(transformer.config, "layer_types", None) or ())
        self._mask = dict.fromkeys(kinds) if len(kinds) > 1 else None

    @property
    def modules(self) -> list[nn.Module]:
        """In their order."""
        return [self.transformer, *self._rest]

    def draws_apart(self, input_ids: Tensor, layout: Layout) -> bool:
        """Whether a concurrent pass in training leaves torch's default generator alone, as its dropout is all ours."""
        with torch.random.fork_rng(devices=[]):
            before = torch.get_rng_state()
            for module in self.modules:
                module.train()
            try:
                with ConcurrentPass(0).entered():
                    self(input_ids, layout)
                return torch.equal(torch.get_rng_state(), before)
            finally:
                for module in self.modules:
                    module.eval()

    def __call__(self, input_ids: Tensor, layout: Layout) -> Tensor:
        """See :class:`Pass`."""
        documents = len(layout.lengths)
        if input_ids.device.type == "cpu":
            layout = layout.filled()
            filling = int(layout.offsets[-1]) - len(input_ids)
            input_ids = torch.cat([input_ids, input_ids.new_zeros(filling)])
        states = self.transformer(
            input_ids=input_ids[None],
            attention_mask=self._mask,
            position_ids=layout.positions[None] + self._first_position,
            layout=layout,
        ).last_hidden_state.squeeze(0)
        padded, mask = layout.unpacked(states)
        return _pooled({"token_embeddings": padded, "attention_mask": mask}, self._rest)[:documents]


def best_pass(modules: list[nn.Module], pad_id: int) -> Pass:
    """The pass without padding, if it demonstrably gives this encoder's embeddings; else the padded one.

    Whether an architecture takes documents end to end (attention through transformers' interface, positions as
    an input, nothing else between tokens) is found out by trying: three short documents, both ways.

    Args:
        modules: of the sentence encoder, in evaluation mode and in float32; its attention is set here.
        pad_id: token id that fills up shorter documents.
    """
    padded = PaddedPass(modules, pad_id)
    transformer = getattr(modules[0], "auto_model", None)
    if not isinstance(transformer, PreTrainedModel):
        return padded
    before = transformer.config._attn_implementation
    attention.register()
    try:
        ids, layout = _trial(transformer, pad_id)
        with torch.inference_mode(), _quiet_transformers():
            expected = padded(ids, layout)
            transformer.set_attn_implementation(attention.NAME)
            for first_position in _first_positions(transformer):
                packed = PackedPass(transformer, modules[1:], first_position)
                difference = packed(ids, layout) - expected
                if float(difference.norm()) <= _TOLERANCE * float(expected.norm()):
                    if transformer.device.type == "cuda" and not _trains(packed, pad_id):
                        break
                    packed.concurrent = transformer.device.type == "cpu" and packed.draws_apart(ids, layout)
                    return packed
    # another architecture's code may object in any way; nothing is lost but speed
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError, ImportError) as error:
        if is_out_of_memory(error) or is_device_lost(error):
            raise  # that says nothing of the architecture
        logger.debug("No pass without padding: %s: %s", type(error).__name__, error)
    with _quiet_transformers():
        transformer.set_attn_implementation(before)
    return padded


def _trains(packed: PackedPass, pad_id: int) -> bool:
    """Whether a card computes finite gradients in each precision: dropout and a gradient want other kernels."""
    model = nn.ModuleList(packed.modules).train()
    device = packed.transformer.device
    half = torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[device]):
            ids, layout = _trial(packed.transformer, pad_id)
            broken = torch.zeros((), dtype=torch.bool, device=device)
            for enabled in (False, True):
                with torch.autocast(device.type, half, enabled):
                    embeddings = packed(ids, layout)
                embeddings.float().square().mean().backward()  # type: ignore[no-untyped-call]
                for parameter in model.parameters():
                    if parameter.grad is not None:
                        broken |= parameter.grad.isnan().any()
                model.zero_grad()
            return not bool(broken)
    finally:
        model.zero_grad()
        model.eval()


def _trial(transformer: PreTrainedModel, pad_id: int) -> tuple[Tensor, Layout]:
    """Three documents of random tokens, the longest of which no window holds."""
    window = max(getattr(module, "sliding_window", None) or 0 for module in transformer.modules())
    lengths = np.array(_TRIAL_LENGTHS) + np.array([window, 0, 0])
    ids = np.random.default_rng(0).integers(transformer.config.vocab_size - 1, size=lengths.sum())
    ids[(ids == pad_id) | (ids == transformer.config.pad_token_id)] = transformer.config.vocab_size - 1
    return torch.from_numpy(ids).to(transformer.device), Layout(lengths, transformer.device)


def _first_positions(transformer: PreTrainedModel) -> list[int]:
    """0, or in RoBERTa and its kin the number after that of the padding."""
    padding = transformer.config.pad_token_id
    return [0] if padding is None else [0, padding + 1]


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No warning that an architecture cannot do what we only ask whether it can."""
    before = logging.get_verbosity()
    logging.set_verbosity(ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _pooled(features: dict[str, Any], modules: list[nn.Module]) -> Tensor:
    for module in modules:
        features = module(features)
    embeddings: Tensor = features["sentence_embedding"]
    return embeddings
