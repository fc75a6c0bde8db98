"""A loaded sentence encoder: it embeds, and is given back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gloss_tune.encoder.resolve import ResolvedEncoder
from gloss_tune.errors import EncoderError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

    from gloss_tune.encoder.modules import PlainModel
    from gloss_tune.encoder.seeded import SeededPass

#: model types that count positions from ``pad_token_id + 1``
_SHIFTED_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")


class Encoder:
    """A loaded sentence encoder whose weights can be reset from memory. Build it with :meth:`load`."""

    def __init__(self, model: SentenceTransformer | PlainModel, resolved: ResolvedEncoder) -> None:
        from gloss_tune.encoder.dropout import replace_dropout
        from gloss_tune.encoder.lookup import replace_token_embedding
        from gloss_tune.encoder.passes import best_pass

        self.resolved = resolved
        self.model = model
        # Losses and head normalise by themselves where they need it, so a final Normalize is left out. It is
        # known by its name, since its place in sentence-transformers differs between versions 5 and 6.
        modules = [module for module in model if type(module).__name__ != "Normalize"]
        replace_dropout(model)
        replace_token_embedding(model)
        self._pass = best_pass(modules, self.pad_id)
        self._initial = self.weights()

    @classmethod
    def load(cls, resolved: ResolvedEncoder, device: str = "cpu", max_length: int = 128) -> Encoder:
        """Load the weights in float32.

        Args:
            resolved: from :func:`resolve_encoder`.
            device: ``cpu``, ``cuda``, ``cuda:0``, ….
            max_length: tokens a text at most, special tokens included.

        Raises:
            EncoderError: the folder cannot be loaded, or the encoder takes fewer tokens than ``max_length``.
        """
        from safetensors import SafetensorError

        with _quiet_loading():
            try:
                model = _loaded(resolved.path).float()
            except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
                # transformers says so of weights that the configuration does not fit; memory may be short, too
                if isinstance(error, RuntimeError) and "ignore_mismatched_sizes" not in str(error):
                    raise
                raise EncoderError(
                    f"An encoder must be loadable by sentence-transformers, got '{resolved.name}' at "
                    f"{resolved.path}: {error}; check the folder or choose another encoder"
                ) from error
        longest = _longest_input(model)
        if longest is not None and max_length > longest:
            raise EncoderError(
                f"max_length must be at most what the encoder takes ({longest} for '{resolved.name}'), "
                f"got {max_length}; lower max_length or choose another encoder"
            )
        model.max_seq_length = max_length
        return cls(model.to(device), resolved)

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The encoder's own tokenizer."""
        tokenizer: PreTrainedTokenizerFast = self.model.tokenizer
        return tokenizer

    @property
    def pad_id(self) -> int:
        """Token id that fills up shorter texts."""
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def dimension(self) -> int:
        """Width D of an embedding."""
        # sentence-transformers 5 has the longer name alone, 6 deprecates it
        model: Any = self.model
        of_version = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
        return int(of_version())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def packs(self) -> bool:
        """Whether :meth:`embed` computes nothing for padding; some architectures need it."""
        from gloss_tune.encoder.passes import PackedPass

        return isinstance(self._pass, PackedPass)

    @property
    def concurrent(self) -> bool:
        """Whether several threads may :meth:`embed` at once: in training, each in its :meth:`seeded_pass`."""
        from gloss_tune.encoder.passes import PackedPass

        return isinstance(self._pass, PackedPass) and self._pass.concurrent

    def seeded_pass(self, seed: int) -> SeededPass:
        """What a pass in training is to be entered in, so that its dropout depends on a seed alone."""
        from gloss_tune.encoder.seeded import ConcurrentPass, SeededPass

        return (ConcurrentPass if self.concurrent else SeededPass)(seed)

    def embed(self, input_ids: Tensor, lengths: NDArray[np.int64]) -> Tensor:
        """Pool the tokens' last states as the encoder's configuration says (mean where it says nothing).

        Args:
            input_ids: int64 (T,), the documents' tokens end to end, without padding.
            lengths: int64 (B,), tokens of each document, falling.

        Returns:
            float32 (B, D), not normalised; with gradients where they are enabled.
        """
        from gloss_tune.encoder.layout import Layout

        return self._pass(input_ids, Layout(lengths, input_ids.device)).float()

    def weights(self) -> dict[str, Tensor]:
        """A copy of all weights on the CPU."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self.model.state_dict().items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Copy weights that :meth:`weights` gave into the encoder."""
        self.model.load_state_dict(weights)

    def reset(self) -> None:
        """Restore the weights it was loaded with, from memory; drops gradients."""
        self.load_weights(self._initial)
        self.model.zero_grad(set_to_none=True)

    def save(self, folder: Path) -> None:
        """Write a folder that ``SentenceTransformer(folder)`` and :func:`resolve_encoder` read.

        Sentence-transformers writes it; of a plain encoder from the folder that this one was loaded from, with the
        weights as they are now.

        Raises:
            OSError: the folder cannot be written, or the encoder's own is gone.
        """
        with _quiet_loading():
            self._whole().save(str(folder), create_model_card=False)

    def _whole(self) -> SentenceTransformer:
        from gloss_tune.encoder.modules import PlainModel

        model = self.model
        if not isinstance(model, PlainModel):
            return model
        whole = _sentence_transformer(self.resolved.path)
        whole.to(model.transformer.dtype)
        transformer: Any = whole[0]
        transformer.auto_model.load_state_dict(model.transformer.state_dict())
        whole.max_seq_length = model.max_seq_length
        return whole


def _loaded(folder: Path) -> SentenceTransformer | PlainModel:
    from gloss_tune.encoder.plain import as_plain

    plain = as_plain(folder)
    if plain is None:
        return _sentence_transformer(folder)
    from gloss_tune.encoder.modules import load_plain

    return load_plain(plain)


def _sentence_transformer(folder: Path) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def _longest_input(model: SentenceTransformer | PlainModel) -> int | None:
    """Number of positions that the transformer has learned, where it says so."""
    config: Any = getattr(getattr(model[0], "auto_model", None), "config", None)
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return None
    first = config.pad_token_id + 1 if config.model_type in _SHIFTED_POSITIONS else 0
    return int(positions) - first


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """No progress bar for a load of a fraction of a second."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
