"""The sentence encoder: found on this machine, loaded, and run without padding.

Torch, sentence-transformers and huggingface-hub are imported when first needed: resolving a local or packaged
encoder takes none of them.
"""

from gloss_tune.encoder.model import Encoder
from gloss_tune.encoder.resolve import ResolvedEncoder, resolve_encoder

__all__ = ["Encoder", "ResolvedEncoder", "resolve_encoder"]
