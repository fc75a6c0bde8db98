"""A loaded sentence encoder: it embeds, and is given back as it was."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gloss_tune.encoder.resolve import ResolvedEncoder
from gloss_tune.errors import EncoderError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer
    from torch import Tensor, nn

    from gloss_tune.encoder.seeded import SeededPass

_OWN_PROMPT = "gloss_tune"


class Encoder:
    """A loaded sentence encoder whose weights can be reset from memory. Build it with :meth:`load`.

    Args:
        model: in evaluation mode and in float32, where it is to compute.
        resolved: where it is from.
        max_length: tokens a text at most.
    """

    def __init__(self, model: SentenceTransformer, resolved: ResolvedEncoder, max_length: int = 128) -> None:
        from gloss_tune.encoder.choice import choose_pass
        from gloss_tune.encoder.dropout import replace_dropout
        from gloss_tune.encoder.preprocess import Preprocessor

        self.resolved = resolved
        self.model = model
        #: texts → token ids, as the folder's own ``encode`` makes them
        self.preprocessor = Preprocessor(model, resolved.fingerprint, resolved.prompt, resolved.name)
        replace_dropout(model)
        #: the pass, and why it is this one
        self.choice = choose_pass(
            trained_modules(model), self.preprocessor, self.pad_id, max_length, resolved.name
        )
        if resolved.prompt is not None:  # so that encode of the saved folder puts it before each text, too
            model.prompts = {**model.prompts, _OWN_PROMPT: self.preprocessor.prompt or ""}
            model.default_prompt_name = _OWN_PROMPT
        self._initial = self.weights()

    @classmethod
    def load(cls, resolved: ResolvedEncoder, device: str = "cpu", max_length: int = 128) -> Encoder:
        """Load the weights in float32.

        Args:
            resolved: from :func:`resolve_encoder`.
            device: ``cpu``, ``cuda``, ``cuda:0``, ….
            max_length: tokens a text at most, special tokens and prompt included.

        Raises:
            EncoderError: the folder cannot be loaded or trained, or takes fewer tokens than ``max_length``.
        """
        from gloss_tune.encoder.loading import load_sentence_transformer

        model = load_sentence_transformer(resolved)
        limit_length(model, resolved, max_length)
        return cls(model.to(device), resolved, max_length)

    @property
    def tokenizer(self) -> Any:
        """The encoder's own tokenizer."""
        return self.model.tokenizer

    @property
    def pad_id(self) -> int:
        """Token id that fills up shorter texts."""
        return pad_id(self.model)

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
        return self.choice.chosen.packs

    @property
    def concurrent(self) -> bool:
        """Whether several threads may :meth:`embed` at once: in training, each in its :meth:`seeded_pass`."""
        return self.choice.chosen.concurrent

    def seeded_pass(self, seed: int) -> SeededPass:
        """What a pass in training is to be entered in, so that its dropout depends on a seed alone."""
        from gloss_tune.encoder.seeded import ConcurrentPass, SeededPass

        return (ConcurrentPass if self.concurrent else SeededPass)(seed)

    def embed(self, input_ids: Tensor, lengths: NDArray[np.int64]) -> Tensor:
        """Embed documents as the encoder's folder says, but for a normalisation at its end.

        Under autocast an encoder that cannot compute in bfloat16 (see :class:`~gloss_tune.encoder.choice.Choice`)
        computes in float32.

        Args:
            input_ids: int64 (T,), the documents' tokens end to end, without padding.
            lengths: int64 (B,), tokens of each document, falling.

        Returns:
            float32 (B, D), not normalised; with gradients where they are enabled.
        """
        import torch

        from gloss_tune.encoder.layout import Layout

        compute = partial(self.choice.chosen, input_ids, Layout(lengths, input_ids.device))
        if self.choice.bfloat16:
            embeddings = compute()
        else:
            with torch.autocast(input_ids.device.type, enabled=False):
                embeddings = compute()
        return embeddings[:, : self.model.truncate_dim].float()

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

        Raises:
            OSError: the folder cannot be written.
        """
        from gloss_tune.encoder.loading import quiet_loading

        with quiet_loading():
            self.model.save(str(folder), create_model_card=False)


def trained_modules(model: SentenceTransformer) -> Sequence[nn.Module]:
    """The modules that make an embedding, without a normalisation at their end.

    Losses and head normalise by themselves where they need it. It is known by its name, since its place in
    sentence-transformers differs between versions 5 and 6.
    """
    modules = list(model)
    while len(modules) > 1 and type(modules[-1]).__name__ == "Normalize":
        modules.pop()
    return modules


def pad_id(model: SentenceTransformer) -> int:
    """Token id that fills up shorter texts."""
    return int(getattr(model.tokenizer, "pad_token_id", None) or 0)


def limit_length(model: SentenceTransformer, resolved: ResolvedEncoder, max_length: int) -> None:
    """Let the encoder cut texts at so many tokens, if it takes them.

    Args:
        model: on the CPU.

    Raises:
        EncoderError: ``max_length`` is more, or not even short documents can be embedded.
    """
    from gloss_tune.encoder.choice import ordinary_token
    from gloss_tune.encoder.passes import EqualLengthPass, quiet_transformers
    from gloss_tune.encoder.positions import longest_input
    from gloss_tune.encoder.preprocess import Preprocessor

    preprocessor = Preprocessor(model, resolved.fingerprint, name=resolved.name)
    if preprocessor.flat:
        return
    alone = EqualLengthPass(trained_modules(model), preprocessor, pad_id(model))
    with quiet_transformers():
        longest = longest_input(alone, ordinary_token(model[0], preprocessor), max_length)
    if longest is not None:
        raise EncoderError(
            f"max_length must be at most what the encoder takes ({longest} for '{resolved.name}'), "
            f"got {max_length}; lower max_length or choose another encoder"
        )
    model.max_seq_length = max_length
