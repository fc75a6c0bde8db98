"""An encoder tried on a few of the data's texts, before anything is written: does it embed them as its folder says?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gloss_tune.encoder.choice import small_weights, token_table
from gloss_tune.encoder.loading import load_sentence_transformer, quiet_loading
from gloss_tune.encoder.model import Encoder, limit_length, trained_modules
from gloss_tune.encoder.passes import as_configured
from gloss_tune.encoder.preprocess import Preprocessor
from gloss_tune.errors import EncoderError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

    from gloss_tune.encoder.resolve import ResolvedEncoder

_TOLERANCE = 1e-3
_MOST_UNKNOWN = 0.9
SAMPLE = 12
"""Texts that are tried."""


@dataclass(frozen=True)
class EncoderCheck:
    """What the trial showed.

    Args:
        parameters: how many there are.
        dimension: D, the width of an embedding.
        way: how its documents go through it: ``without padding``, ``padded``, …
        reason: why not without padding; empty where it is.
        prompt: what goes before each text; empty for nothing.
        unknown: the share of the texts' tokens that the tokenizer does not know, in [0, 1].
        difference: of the embeddings from those of ``encode``, relative.
        half_difference: likewise in bfloat16; None where the encoder computes in float32 alone.
    """

    parameters: int
    dimension: int
    way: str
    reason: str
    prompt: str
    unknown: float
    difference: float
    half_difference: float | None

    def __str__(self) -> str:
        half = (
            "; it computes in float32 alone"
            if self.half_difference is None
            else f" (bfloat16: {self.half_difference:.0e})"
        )
        parts = [
            f"{self.parameters:,} parameters",
            f"{self.dimension} dimensions",
            self.way + (f", since {self.reason}" if self.reason else ""),
            f"prompt {self.prompt!r}" if self.prompt else "no prompt",
            f"{self.unknown:.1%} of the tokens unknown" if self.unknown else "no unknown token",
            f"as encode to {self.difference:.0e}{half}",
        ]
        return "; ".join(parts)


def check_encoder(
    resolved: ResolvedEncoder, texts: Sequence[str], max_length: int, precision: str = "auto"
) -> EncoderCheck:
    """Load an encoder on the CPU and embed texts, forward and backward, in the precisions that a run may use.

    Args:
        resolved: from :func:`~gloss_tune.encoder.resolve.resolve_encoder`.
        texts: at least one; some are enough, see :func:`some_of`.
        max_length: tokens of a text at most.
        precision: of the runs: ``bfloat16``, ``float32`` or ``auto``.

    Raises:
        EncoderError: it cannot be loaded or trained, does not fit its tokenizer or ``max_length``, knows next to none
            of the texts' tokens, gives other embeddings than its folder's ``encode``, or cannot compute in the
            precision that was asked for.
    """
    expected = _encoded(_loaded(resolved, max_length, 0), resolved, texts)
    model = _loaded(resolved, max_length, 1)
    again = _difference(_encoded(model, resolved, texts), expected, normalized=False)
    if not again <= _TOLERANCE:
        raise EncoderError(
            f"An encoder's folder must hold all of its weights, got '{resolved.name}', whose embeddings differ by "
            f"{again:.0%} from one loading to the next, since some begin at random; check that its weights and "
            "configuration belong together"
        )
    normalized = len(trained_modules(model)) < len(model)
    encoder = Encoder(model, resolved, max_length)
    rows = encoder.preprocessor(texts, max_length)
    unknown = _unknown_share(model, rows, resolved)
    difference = _difference(_embedded(encoder, rows, half=False), expected, normalized)
    if not difference <= _TOLERANCE:
        raise EncoderError(
            f"An encoder must embed texts as encode of its folder does, got '{resolved.name}', whose embeddings differ "
            f"by {difference:.1%}; choose another encoder"
        )
    half_difference = None
    if precision != "float32" and encoder.choice.bfloat16:
        half_difference = _difference(_embedded(encoder, rows, half=True), expected, normalized)
    elif precision == "bfloat16":
        raise EncoderError(
            f"An encoder must compute in the precision asked for, got 'bfloat16' for '{resolved.name}', which needs "
            "float32; set train.precision to float32 or auto"
        )
    choice = encoder.choice
    return EncoderCheck(
        sum(weight.numel() for weight in model.parameters()),
        encoder.dimension,
        choice.chosen.name,
        choice.reason,
        encoder.preprocessor.prompt or "",
        unknown,
        difference,
        half_difference,
    )


def _loaded(resolved: ResolvedEncoder, max_length: int, seed: int) -> SentenceTransformer:
    """The encoder, with weights that depend on the seed where its files have none."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = load_sentence_transformer(resolved)
    _check_vocabulary(model, resolved)
    limit_length(model, resolved, max_length)
    return model


def some_of(texts: Sequence[str]) -> list[str]:
    """A few texts, evenly taken, and the longest."""
    places = {*np.linspace(0, len(texts) - 1, min(SAMPLE, len(texts))).astype(int).tolist()}
    places.add(max(range(len(texts)), key=lambda place: len(texts[place])))
    return [texts[place] for place in sorted(places)]


def _check_vocabulary(model: SentenceTransformer, resolved: ResolvedEncoder) -> None:
    """Refuse a tokenizer whose ids go beyond the table of embeddings: sooner or later a text has such a token."""
    module: Any = model[0]
    table = getattr(module, "embedding", None) or token_table(module)
    rows = getattr(table, "num_embeddings", None)
    tokenizer: Any = model.tokenizer
    known: Any = getattr(tokenizer, "get_vocab", dict)()
    known = known if isinstance(known, dict) else {}
    # those that a class of tokenizers adds of itself come up in no text, but padding may be one of them
    special = {*getattr(tokenizer, "all_special_tokens", ())} - {getattr(tokenizer, "pad_token", None)}
    highest = max((number for token, number in known.items() if token not in special), default=-1)
    if rows is not None and highest >= rows:
        raise EncoderError(
            f"An encoder's table must have a row for each token of its tokenizer, got '{resolved.name}' with {rows:,} "
            f"rows and tokens up to number {highest:,}; take the tokenizer files that belong to the weights"
        )


def _encoded(model: SentenceTransformer, resolved: ResolvedEncoder, texts: Sequence[str]) -> Tensor:
    """Embeddings (N, D) by sentence-transformers, each text by itself: padding changes those of some encoders."""
    prompt = Preprocessor(model, resolved.fingerprint, resolved.prompt, resolved.name).prompt
    parts = []
    with quiet_loading():
        try:
            for text in texts:
                with as_configured(model[0]):
                    parts.append(
                        model.encode([text], prompt=prompt, convert_to_tensor=True, show_progress_bar=False)
                    )
        except Exception as error:  # the folder's own code and tokenizer, which may object in any way
            raise EncoderError(
                f"An encoder's own encode must take the data's texts, got '{resolved.name}': {type(error).__name__}: "
                f"{str(error).strip().partition(chr(10))[0]}; check the folder or choose another encoder"
            ) from error
    return torch.cat(parts).float()


def _unknown_share(
    model: SentenceTransformer, rows: Sequence[NDArray[np.int32]], resolved: ResolvedEncoder
) -> float:
    tokenizer: Any = model.tokenizer
    unknown, special = getattr(tokenizer, "unk_token_id", None), getattr(tokenizer, "all_special_ids", None)
    if special is None and hasattr(tokenizer, "token_to_id"):  # of the tokenizers library itself
        token = getattr(getattr(tokenizer, "model", None), "unk_token", None)
        unknown = None if token is None else tokenizer.token_to_id(token)
    ids = np.concatenate([*rows, np.empty(0, np.int32)])
    content = ids[~np.isin(ids, [token for token in special or () if token != unknown])]
    share = float((content == unknown).mean()) if len(content) and unknown is not None else 0.0
    if not len(content) or share > _MOST_UNKNOWN:
        what = f"{share:.0%} of them as unknown" if len(content) else "no token at all"
        raise EncoderError(
            f"An encoder's tokenizer must know the texts' words, got '{resolved.name}', which sees {what}; check that "
            "its folder holds the tokenizer's files, or choose an encoder for this language"
        )
    return share


def _embedded(encoder: Encoder, rows: Sequence[NDArray[np.int32]], *, half: bool) -> Tensor:
    """Embeddings (N, D) by our own pass in evaluation mode; in training mode they must have a finite gradient."""
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
    ids = torch.from_numpy(np.concatenate([rows[row] for row in order]).astype(np.int64))
    lengths = np.array([len(rows[row]) for row in order])
    device = encoder.device.type
    encoder.model.train()
    with torch.random.fork_rng(devices=[]):
        with torch.autocast(device, torch.bfloat16, half, cache_enabled=False):
            trained = encoder.embed(ids, lengths)
        gradients = torch.autograd.grad(
            trained.square().sum(), small_weights([encoder.model]), allow_unused=True
        )
    encoder.model.eval()
    if not all(bool(gradient.isfinite().all()) for gradient in gradients if gradient is not None):
        raise EncoderError(
            f"An encoder's gradients must be finite, got others for '{encoder.resolved.name}' in "
            f"{'bfloat16' if half else 'float32'}; choose another encoder, or another train.precision"
        )
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, half, cache_enabled=False):
        found = encoder.embed(ids, lengths)
    return found[torch.tensor(order).argsort()]


def _difference(found: Tensor, expected: Tensor, normalized: bool) -> float:
    if normalized:
        found, expected = F.normalize(found, dim=1), F.normalize(expected, dim=1)
    return float((found - expected).norm() / expected.norm().clamp(min=1e-12))
