"""The modules of a plain encoder; their features go from one to the next under sentence-transformers' names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from gloss_tune.encoder.plain import PlainEncoder, PoolingMode


class Transformer(nn.Module):
    """Token ids → the tokens' last states."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    @property
    def auto_model(self) -> PreTrainedModel:
        """As sentence-transformers calls it."""
        return self.model

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """``input_ids`` and ``attention_mask``, int64 (B, L) → ``token_embeddings`` (B, L, D) beside them."""
        found = self.model(input_ids=features["input_ids"], attention_mask=features["attention_mask"])
        return {**features, "token_embeddings": found.last_hidden_state}


class Pooling(nn.Module):
    """The tokens' states → one embedding a document; padding, at the end alone, counts for nothing."""

    def __init__(self, mode: PoolingMode) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """``token_embeddings`` (B, L, D) and ``attention_mask`` (B, L) → ``sentence_embedding`` (B, D) beside them."""
        states, mask = features["token_embeddings"], features["attention_mask"][..., None]
        return {**features, "sentence_embedding": self._pooled(states, mask)}

    def _pooled(self, states: Tensor, mask: Tensor) -> Tensor:
        if self.mode == "cls":
            return states[:, 0]
        if self.mode == "max":
            return states.masked_fill(mask == 0, float("-inf")).max(dim=1).values
        half = states.dtype in (torch.float16, torch.bfloat16)
        total = (states * mask).sum(dim=1, dtype=torch.float32 if half else states.dtype)
        return (total / mask.sum(dim=1)).to(states.dtype)


class PlainModel(nn.Sequential):
    """What of a ``SentenceTransformer`` a fine-tune needs.

    Args:
        transformer: the states' source.
        pooling: over a document's tokens.
        tokenizer: the transformer's.
    """

    def __init__(
        self, transformer: PreTrainedModel, pooling: PoolingMode, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        super().__init__(Transformer(transformer), Pooling(pooling))
        self.tokenizer = tokenizer

    @property
    def transformer(self) -> PreTrainedModel:
        """Without what comes after it."""
        first: Any = self[0]
        model: PreTrainedModel = first.auto_model
        return model

    @property
    def max_seq_length(self) -> int:
        """Tokens a text at most."""
        return int(self.tokenizer.model_max_length)

    @max_seq_length.setter
    def max_seq_length(self, tokens: int) -> None:
        self.tokenizer.model_max_length = tokens

    def get_embedding_dimension(self) -> int:
        """Width D of an embedding."""
        return int(self.transformer.config.hidden_size)


def load_plain(plain: PlainEncoder) -> PlainModel:
    """Load a plain encoder onto the CPU, in the precision of its file.

    Raises:
        OSError, ValueError, KeyError, ImportError: transformers cannot load the folder.
    """
    model = AutoModel.from_pretrained(plain.folder, local_files_only=True)
    tokenizer: Any = AutoTokenizer.from_pretrained(plain.folder, local_files_only=True)
    return PlainModel(model.eval(), plain.pooling, tokenizer)
