"""Encoders of random weights and texts of natural lengths, for machines on which nothing can be downloaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase

import numpy as np
from numpy.typing import NDArray

from gloss_tune.data import Split, TextDataset

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_SPECIAL_TOKENS_OF_A_DOCUMENT = 2


@dataclass(frozen=True)
class Shape:
    """Size of a BERT, whose feed-forward layers are four times as wide as its states.

    Args:
        layers: L.
        hidden: H, width of a token's state.
        heads: of attention.
        vocabulary: rows of the table of token embeddings.
        positions: the longest document.
    """

    layers: int
    hidden: int
    heads: int
    vocabulary: int = 30_522
    positions: int = 512

    @property
    def parameters(self) -> int:
        """Weights and biases of all layers; embeddings, which multiply nothing, are left out."""
        attention = 4 * (self.hidden**2 + self.hidden)
        feed_forward = 8 * self.hidden**2 + 5 * self.hidden
        norms = 4 * self.hidden
        return self.layers * (attention + feed_forward + norms)

    def training_flops(self, lengths: NDArray[np.int64]) -> float:
        """Floating-point operations that one pass of training on some documents needs, whatever a program does.

        6 · N · ΣT for N weights (:attr:`parameters`) and documents of T tokens: a multiplication and an addition for
        each weight and token, once forward and twice backward. And 12 · L · H · ΣT² for attention: T² scores and as
        many weighted values, each of H multiplications and additions a layer, once forward and twice backward.
        Padding, pooling, the loss, dropout and the optimizer count as nothing.

        Args:
            lengths: int64 (N,), tokens of each document, special ones included, padding not.
        """
        tokens = lengths.astype(np.float64)
        linear = 6.0 * self.parameters * tokens.sum()
        attention = 12.0 * self.layers * self.hidden * np.square(tokens).sum()
        return float(linear + attention)


BERT_BASE = Shape(layers=12, hidden=768, heads=12)
MINILM = Shape(layers=6, hidden=384, heads=12)
TINY = Shape(layers=2, hidden=32, heads=2, vocabulary=300, positions=128)


@dataclass(frozen=True)
class Lengths:
    """How many tokens documents have, special ones included: log-normal, and cut.

    Args:
        name: of the data set after which it is modelled.
        log_mean: of the natural logarithm of the number.
        log_deviation: its standard deviation.
        max_length: longer documents are cut to this.
    """

    name: str
    log_mean: float
    log_deviation: float
    max_length: int

    def draw(self, documents: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Lengths int64 (documents,), at least 3: the special tokens and a word."""
        drawn = generator.lognormal(self.log_mean, self.log_deviation, documents)
        return np.clip(np.rint(drawn), _SPECIAL_TOKENS_OF_A_DOCUMENT + 1, self.max_length).astype(np.int64)


#: Fitted to the training documents of MR and 20NG under BERT's uncased vocabulary: on average 27 tokens, and 310
#: once cut to 512 (one document of 20NG in five is).
MR_LIKE = Lengths("MR-like", 3.214, 0.468, 128)
NEWSGROUPS_LIKE = Lengths("20NG-like", 5.710, 0.780, 512)


def write_encoder(folder: Path, shape: Shape) -> Path:
    """A folder that transformers and sentence-transformers (mean pooling) load: random weights, own vocabulary."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    words = map("".join, product(ascii_lowercase, repeat=4))
    vocabulary = [*_SPECIAL, *islice(words, shape.vocabulary - len(_SPECIAL))]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertModel(bert_config(shape, BertConfig))
    model.save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds.items())
    ]
    _write_json(folder / "modules.json", modules)
    _write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": shape.positions, "do_lower_case": False}
    )
    pooling = {"word_embedding_dimension": shape.hidden, "pooling_mode_mean_tokens": True}
    _write_json(folder / "1_Pooling" / "config.json", pooling)
    return folder


def bert_config(shape: Shape, kind: type) -> object:
    """transformers' ``BertConfig``, given as ``kind``, of that size."""
    return kind(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.hidden,
        max_position_embeddings=shape.positions,
    )


def whole_words(encoder: Path) -> list[str]:
    """Words that an uncased encoder's tokenizer leaves whole, so that a text has as many tokens as meant."""
    from transformers import AutoTokenizer

    vocabulary = AutoTokenizer.from_pretrained(str(encoder)).get_vocab()
    return sorted(
        word for word in vocabulary if len(word) > 2 and word.isascii() and word.isalpha() and word.islower()
    )


def synthetic_dataset(
    words: Sequence[str],
    lengths: Lengths,
    documents: int,
    val_documents: int,
    *,
    classes: int = 2,
    seed: int = 0,
) -> TextDataset:
    """Documents of common and rare words, three of which tell the class.

    Args:
        words: from :func:`whole_words`, at least ten a class.
        lengths: of the documents.
        documents: of the training split.
        val_documents: of the validation split.
        classes: C, as frequent as each other.
        seed: another seed, other documents.
    """
    generator = np.random.default_rng(seed)
    digest = hashlib.sha256(repr((lengths, documents, val_documents, classes, seed)).encode()).hexdigest()
    return TextDataset(
        name=lengths.name,
        classes=tuple(f"class {number}" for number in range(classes)),
        train=_split(words, lengths, documents, classes, generator),
        val=_split(words, lengths, val_documents, classes, generator),
        test=None,
        fingerprint=digest[:16],
        source=f"made up, {lengths.name}",
        warnings=(),
    )


def _split(
    words: Sequence[str], lengths: Lengths, documents: int, classes: int, generator: np.random.Generator
) -> Split:
    labels = generator.permutation(np.arange(documents) % classes)
    texts = []
    for label, length in zip(
        labels, lengths.draw(documents, generator) - _SPECIAL_TOKENS_OF_A_DOCUMENT, strict=True
    ):
        # a few words make up most of a text, as in a language
        chosen = (len(words) * generator.random(length) ** 3).astype(np.int64)
        chosen[:3] = 10 * label + generator.integers(10, size=min(3, length))
        texts.append(" ".join(words[word] for word in chosen))
    return Split(tuple(texts), labels.astype(np.int64))


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
