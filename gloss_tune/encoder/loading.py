"""Sentence-transformers reads its own folders; here it does so quietly, and what it objects to is one sentence."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gloss_tune.errors import EncoderError
from gloss_tune.faults import is_device_lost, is_out_of_memory

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from gloss_tune.encoder.resolve import ResolvedEncoder

_LIBRARIES = ("transformers", "sentence_transformers")


def load_sentence_transformer(resolved: ResolvedEncoder) -> SentenceTransformer:
    """Load an encoder onto the CPU, in float32 and in evaluation mode, every weight trainable.

    Raises:
        EncoderError: sentence-transformers cannot load the folder, or it brings code that is not trusted.
    """
    with quiet_loading():
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer

        # older releases of transformers know no code_revision of a tokenizer
        code = {} if resolved.code_revision is None else {"code_revision": resolved.code_revision}
        try:
            model = SentenceTransformer(
                str(resolved.path),
                device="cpu",
                local_files_only=True,
                trust_remote_code=resolved.trust_remote_code,
                model_kwargs=dict(code),
                config_kwargs=dict(code),
            ).float()
        # transformers and code beside the weights object in any way; but memory may be short, too
        except Exception as error:
            if is_out_of_memory(error) or is_device_lost(error):
                raise
            if "trust_remote_code" in str(error) and not resolved.trust_remote_code:
                raise EncoderError(
                    f"An encoder's own code is run only where it is trusted, got '{resolved.name}' at {resolved.path}, "
                    "which needs some; read it, then give --trust-remote-code, or choose another encoder"
                ) from error
            reason = str(error).strip() if isinstance(error, SafetensorError | OSError | ValueError) else ""
            raise EncoderError(
                f"An encoder must be loadable by sentence-transformers, got '{resolved.name}' at {resolved.path}: "
                f"{reason or f'{type(error).__name__}: {error}'}; check the folder or choose another encoder"
            ) from error
        _give_pad_token(model)
    # static tables are often saved as frozen, and modules of sentence-transformers begin in training mode
    return model.requires_grad_(True).eval()


def _give_pad_token(model: SentenceTransformer) -> None:
    """Let decoders without a token for padding pad with their last one, which attention hides anyway."""
    tokenizer: Any = getattr(model[0], "tokenizer", None)
    if hasattr(tokenizer, "eos_token") and getattr(tokenizer, "pad_token", "") is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token


@contextmanager
def quiet_loading() -> Iterator[None]:
    """No progress bar and no warning of libraries for a load of a second."""
    from transformers.utils import logging as of_transformers

    bar = of_transformers.is_progress_bar_enabled()
    of_transformers.disable_progress_bar()  # type: ignore[no-untyped-call]
    levels = {name: logging.getLogger(name).level for name in _LIBRARIES}
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if bar:
            of_transformers.enable_progress_bar()  # type: ignore[no-untyped-call]
