"""An encoder of 40,000 random weights, and documents whose class three of their words give away."""

from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from gloss_tune.data import TokenizedSplit

WORDS = [f"{letter}{digit}" for letter in "abcdef" for digit in range(6)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_encoder(folder: Path, **changes: object) -> Path:
    """A folder as ``save_pretrained`` of transformers leaves it: no word on pooling."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join([*SPECIAL, *WORDS]))
    settings = {
        "vocab_size": len(SPECIAL) + len(WORDS),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 32,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(BertConfig(**{**settings, **changes})).save_pretrained(folder)
    BertTokenizerFast(str(vocabulary)).save_pretrained(folder)
    return folder


def documents(count: int, classes: int, seed: int) -> TokenizedSplit:
    """Documents of 5 to 14 tokens, three of them words of the class; one in ten is labelled wrong."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    rows = []
    for label in labels:
        own = rng.choice(6, size=3) + 6 * (label if rng.random() < 0.9 else rng.integers(classes))
        other = rng.choice(len(WORDS), size=rng.integers(0, 10))
        words = rng.permutation(np.concatenate([own, other])) + len(SPECIAL)
        rows.append(np.concatenate([[2], words, [3]]))
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return TokenizedSplit(
        np.concatenate(rows).astype(np.int32), offsets.astype(np.int64), labels.astype(np.int64)
    )
