"""Which pass an encoder gets: the fastest that demonstrably gives the embeddings and gradients of each document alone.

Whether an architecture takes documents end to end (attention through transformers' interface, positions as an input,
nothing else between tokens), or a rectangle whose padding changes nothing, is found out by trying: with three short
documents, in float32 and in bfloat16, forward and backward, in evaluation and in training mode, on the device at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from gloss_tune.encoder import attention
from gloss_tune.encoder.layout import Layout
from gloss_tune.encoder.mpnet import pack_mpnet
from gloss_tune.encoder.passes import (
    EqualLengthPass,
    PackedPass,
    PaddedPass,
    Pass,
    StaticPass,
    as_configured,
    in_training,
    quiet_transformers,
)
from gloss_tune.encoder.preprocess import Preprocessor
from gloss_tune.errors import EncoderError
from gloss_tune.faults import is_device_lost, is_out_of_memory

_TRIAL_LENGTHS = (7, 4, 3)
# of embeddings and of gradients; bfloat16's rounding adds up over the layers, and more so on the way back
_TOLERANCES = {False: (1e-3, 1e-3), True: (0.1, 0.3)}
_HALF_TO_FULL = 0.2
_WINDOW_AND_MORE = 6
_AMPERE = (8, 0)
_TEXT = "The quick brown fox jumps over 13 lazy dogs."
# Another architecture's code may object in any way to what it cannot do.
_OBJECTIONS = (
    TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError, ImportError, AssertionError,
    NotImplementedError,
)  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """A pass, and why it is this one.

    Args:
        chosen: the pass.
        reason: why none that is faster; empty where it is the fastest.
        bfloat16: whether it runs in bfloat16, and comes near to float32 there.
    """

    chosen: Pass
    reason: str
    bfloat16: bool


@dataclass(frozen=True)
class _Trial:
    """Documents, and what each of them gives alone: embeddings and gradients of the small weights, flat."""

    ids: Tensor
    layout: Layout
    modules: Sequence[nn.Module]
    expected: dict[bool, tuple[Tensor, Tensor]]  # in bfloat16 or not

    def fault(self, candidate: Pass, *, half: bool) -> str:
        """What is wrong with a pass; empty where nothing is."""
        try:
            found = _run(candidate, self.ids, self.layout, self.modules, half=half)
            with in_training(self.modules), torch.random.fork_rng(devices=[]):
                _run(candidate, self.ids, self.layout, self.modules, half=half)
        except _OBJECTIONS as error:
            return _said(error)
        kinds = zip(("embeddings", "gradients"), found, self.expected[half], _TOLERANCES[half], strict=True)
        for what, ours, alone, tolerance in kinds:
            difference = float((ours - alone).norm() / alone.norm().clamp(min=1e-12))
            if not difference <= tolerance:
                return f"its {what} would differ by {difference:.1%}"
        return ""


def choose_pass(
    modules: Sequence[nn.Module], preprocessor: Preprocessor, pad_id: int, max_length: int, name: str
) -> Choice:
    """Find the pass for an encoder; its attention is set here.

    Args:
        modules: of the sentence encoder, in evaluation mode and in float32.
        preprocessor: its.
        pad_id: token id that fills up shorter documents.
        max_length: tokens of a document at most.
        name: of the encoder, for errors.

    Raises:
        EncoderError: it embeds not even one document by itself, or cannot be trained.
    """
    if preprocessor.flat:
        return Choice(StaticPass(modules, preprocessor), "", True)
    with quiet_transformers(), as_configured(modules[0]):
        shortest = _shortest(modules, preprocessor, pad_id, name)
        padded = PaddedPass(modules, preprocessor, pad_id, shortest)
        alone = EqualLengthPass(modules, preprocessor, pad_id, shortest)
        trial = _trial(modules, preprocessor, alone, pad_id, max_length, name)
        reason = ""
        transformer = getattr(modules[0], "auto_model", None)
        if isinstance(transformer, PreTrainedModel) and not preprocessor.segments:
            before = transformer.config._attn_implementation
            attention.register()
            for candidate in _packed(transformer, modules, preprocessor):
                reason = candidate if isinstance(candidate, str) else trial.fault(candidate, half=False)
                if not reason and not isinstance(candidate, str):
                    chosen = _in_half(trial, candidate)
                    if chosen.bfloat16 or True not in trial.expected:
                        candidate.concurrent = trial.ids.device.type == "cpu" and candidate.draws_apart(
                            trial.ids, trial.layout
                        )
                        return chosen
                    reason = chosen.reason
            if transformer.config._attn_implementation != before:
                transformer.set_attn_implementation(before)
        else:
            reason = "it is no transformer" if transformer is None else "its tokens have segments"
        fault = trial.fault(padded, half=False)
        if not fault:
            return Choice(padded, reason, _in_half(trial, padded).bfloat16)
        if broken := trial.fault(alone, half=False):
            raise _unfit(name, broken)
        mixed = f"padding changes its states ({fault})"
        return Choice(alone, mixed, _in_half(trial, alone).bfloat16)


def _in_half(trial: _Trial, candidate: Pass) -> Choice:
    if True not in trial.expected:
        return Choice(candidate, "", False)
    fault = trial.fault(candidate, half=True)
    return Choice(candidate, fault and f"in bfloat16 {fault}", not fault)


def _packed(
    transformer: PreTrainedModel, modules: Sequence[nn.Module], preprocessor: Preprocessor
) -> Iterator[PackedPass | str]:
    """Passes without padding, one for each way of counting positions; or why there is none."""
    try:
        pack_mpnet(transformer)
        transformer.set_attn_implementation(attention.NAME)
    except _OBJECTIONS as error:
        yield _said(error)
        return
    padding = getattr(transformer.config, "pad_token_id", None)
    # from 0, or in RoBERTa and its kin from the number after that of the padding
    for first in [0] if padding is None else [0, padding + 1]:
        yield PackedPass(transformer, modules[1:], first, preprocessor.extras)


def _trial(
    modules: Sequence[nn.Module],
    preprocessor: Preprocessor,
    alone: Pass,
    pad_id: int,
    max_length: int,
    name: str,
) -> _Trial:
    ids, layout = _documents(modules, preprocessor, pad_id, max_length)
    try:
        expected = {False: _run(alone, ids, layout, modules, half=False)}
    except _OBJECTIONS as error:
        raise _unfit(name, _said(error)) from error
    if ids.device.type == "cuda" and torch.cuda.get_device_capability(ids.device) < _AMPERE:
        return _Trial(ids, layout, modules, expected)  # that card multiplies no bfloat16, and is not asked to
    try:
        half = _run(alone, ids, layout, modules, half=True)
        if _near(half[0], expected[False][0]):
            expected[True] = half
    except _OBJECTIONS as error:  # it then computes in float32
        _said(error)
    return _Trial(ids, layout, modules, expected)


def _said(error: Exception) -> str:
    """What an architecture objects; a shortage of memory or a lost device says nothing of it, and is raised again."""
    if is_out_of_memory(error) or is_device_lost(error):
        raise error
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _unfit(name: str, reason: str) -> EncoderError:
    return EncoderError(
        f"An encoder must embed a document of any length, and be trainable, got '{name}': {reason}; choose another "
        "encoder"
    )


def _near(half: Tensor, full: Tensor) -> bool:
    return float((half - full).norm()) <= _HALF_TO_FULL * float(full.norm())


def _shortest(modules: Sequence[nn.Module], preprocessor: Preprocessor, pad_id: int, name: str) -> int:
    """The fewest tokens that a document can have: CANINE takes no fewer than it makes one of."""
    reason = ""
    for shortest in range(1, 17):
        ids, layout = _documents(modules, preprocessor, pad_id, 1, (shortest,))
        try:
            with torch.no_grad():
                PaddedPass(modules, preprocessor, pad_id)(ids, layout)
            return shortest
        except _OBJECTIONS as error:
            reason = _said(error)
    raise _unfit(name, reason)


def _documents(
    modules: Sequence[nn.Module],
    preprocessor: Preprocessor,
    pad_id: int,
    max_length: int,
    lengths: tuple[int, ...] = _TRIAL_LENGTHS,
) -> tuple[Tensor, Layout]:
    """Documents of random tokens, one of them longer than the encoder's window, if it has one."""
    parameter = next(module for module in modules).parameters()
    device = next(parameter, torch.zeros(0)).device
    window = _window(modules[0])
    counts = np.array(lengths)
    counts[0] = max(counts[0], min(window + _WINDOW_AND_MORE, max_length))
    if (table := token_table(modules[0])) is not None:
        ids = np.random.default_rng(0).integers(table.num_embeddings - 1, size=counts.sum())
        ids[np.isin(ids, [pad_id, table.padding_idx or 0])] = table.num_embeddings - 1
    else:
        (row,) = preprocessor([_TEXT], 64)
        ids = np.resize(row, counts.sum()).astype(np.int64)
    return torch.from_numpy(ids).to(device), Layout(counts, device)


def token_table(module: nn.Module) -> nn.Embedding | None:
    """The table that the tokens' ids are numbers of rows in; None where there is no plain one."""
    transformer: Any = getattr(module, "auto_model", None)
    try:
        table = (
            getattr(module, "emb_layer", None) if transformer is None else transformer.get_input_embeddings()
        )
    except (NotImplementedError, AttributeError):
        return None
    return table if isinstance(table, nn.Embedding) else None


def ordinary_token(module: nn.Module, preprocessor: Preprocessor) -> int:
    """The id of a token from the middle of the table, or of a text where there is no table."""
    if (table := token_table(module)) is not None:
        return table.num_embeddings // 2
    (row,) = preprocessor([_TEXT], 64)
    return int(row[len(row) // 2])


def _window(module: nn.Module) -> int:
    """How far a token sees, where that is not the whole document: in a layer, or in BigBird unless it is short."""
    transformer: Any = getattr(module, "auto_model", None)
    windows = [getattr(layer, "sliding_window", None) for layer in module.modules()]
    if getattr(transformer, "attention_type", None) == "block_sparse":
        config = transformer.config
        windows.append((5 + 2 * config.num_random_blocks) * config.block_size)
    return max((window for window in windows if isinstance(window, int)), default=0)


def _run(
    candidate: Callable[[Tensor, Layout], Tensor],
    ids: Tensor,
    layout: Layout,
    modules: Sequence[nn.Module],
    *,
    half: bool,
) -> tuple[Tensor, Tensor]:
    """Embeddings, and their gradient on the vectors among the weights, which is soon computed; both float32."""
    with torch.enable_grad():
        with torch.autocast(ids.device.type, torch.bfloat16, half, cache_enabled=False):
            embeddings = candidate(ids, layout).float()
        # each number weighs something else, lest a layer norm's sum of zero hide the rest
        weights = torch.linspace(-1.0, 1.0, embeddings.numel(), device=embeddings.device).view_as(embeddings)
        gradients = _gradients((embeddings * weights).sum(), modules)
    flat = torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])
    if torch.cat([embeddings.flatten(), flat]).isfinite().logical_not().any():
        raise ValueError("its embeddings or gradients are not finite")
    return embeddings.detach(), flat


def _gradients(loss: Tensor, modules: Sequence[nn.Module]) -> list[Tensor | None]:
    """Of the small weights; on a card with all others', as training asks for them."""
    small = small_weights(modules)
    if loss.device.type == "cpu":
        return list(torch.autograd.grad(loss, small, allow_unused=True))
    loss.backward()  # type: ignore[no-untyped-call]
    found = [weight.grad for weight in small]
    for module in modules:
        module.zero_grad(set_to_none=True)
    return found


def small_weights(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    """The vectors among the weights, whose gradients need no memory; all weights where there are none."""
    weights = [weight for module in modules for weight in module.parameters()]
    return [weight for weight in weights if weight.ndim == 1] or weights
