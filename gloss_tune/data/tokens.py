"""Texts as token ids: made once per texts, tokenizer and length, memory-mapped, shared by processes.

A cache file is an array of little-endian int32: the length of each of the N documents, the ids of all
documents one after the other, and a CRC-32 of what came before. N is known from the split, so a file that is
too short, too long or altered is noticed when it is opened, and made anew.
"""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gloss_tune.data.cache import write_atomically
from gloss_tune.data.dataset import Split

_log = logging.getLogger(__name__)

_CHUNK = 1024
"""Documents tokenised at once: enough for the tokenizer's threads, little enough for memory."""


class Tokenizer(Protocol):
    """Makes token ids of texts, as an encoder's preprocessor does."""

    @property
    def fingerprint(self) -> str:
        """Of all that decides how texts become ids."""
        ...

    def __call__(self, texts: Sequence[str], max_length: int) -> Sequence[NDArray[np.int32]]:
        """The ids of each text, special tokens included; what is longer than ``max_length`` is cut off."""
        ...


@dataclass(frozen=True, eq=False)
class TokenizedSplit:
    """The documents of a split as token ids.

    Attributes:
        ids: int32 (T,), the ids of all documents one after the other, special tokens included; memory-mapped
            and read-only.
        offsets: int64 (N + 1,); document i is ``ids[offsets[i]:offsets[i + 1]]``.
        labels: int64 (N,), indices of classes.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64 (N,), tokens of each document."""
        return np.diff(self.offsets)

    def take(self, positions: NDArray[np.int64]) -> TokenizedSplit:
        """The documents at these positions, one at least."""
        rows = [self.ids[self.offsets[place] : self.offsets[place + 1]] for place in positions]
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return TokenizedSplit(np.concatenate(rows), offsets, self.labels[positions])


def tokenize_split(
    split: Split,
    tokenizer: Tokenizer,
    *,
    dataset_fingerprint: str,
    split_name: str,
    max_length: int,
    cache_dir: Path,
) -> TokenizedSplit:
    """Tokenises a split, or opens the tokens that an earlier call or another process made of it.

    Args:
        split: the documents.
        tokenizer: the encoder's.
        dataset_fingerprint: names the file, for people; what decides is the texts themselves.
        split_name: likewise.
        max_length: tokens a document may have, special tokens included; what is longer is cut off.
        cache_dir: folder of the cache; a subfolder ``tokens`` is made. Where it cannot be written to, the
            tokens stay in this process's memory.

    Returns:
        The tokens, in the order of the split.
    """
    key = hashlib.sha256(f"{_texts_key(split)}:{tokenizer.fingerprint}:{max_length}".encode()).hexdigest()
    path = cache_dir / "tokens" / f"{dataset_fingerprint}-{split_name}-{key[:16]}.bin"
    stored = _open(path, len(split))
    if stored is None:
        content = _encode(split.texts, tokenizer, max_length)
        try:
            write_atomically(path, content.tobytes())
            stored = _open(path, len(split))
        except OSError as error:
            _log.warning(
                "tokens stay in the memory of this process, since they could not be cached (%s); "
                "free disk space, or set GLOSS_TUNE_CACHE to another folder",
                error,
            )
        if stored is None:
            stored = content
    return _tokenized(stored, split.labels)


def tokenize_texts(texts: Sequence[str], tokenizer: Tokenizer, max_length: int) -> TokenizedSplit:
    """Tokenises texts without labels; nothing is cached.

    Args:
        texts: at least one.
        tokenizer: the encoder's.
        max_length: tokens a document may have, special tokens included; what is longer is cut off.

    Returns:
        The tokens, in the order of the texts, each with the label -1.
    """
    return _tokenized(_encode(texts, tokenizer, max_length), np.full(len(texts), -1, dtype=np.int64))


def _texts_key(split: Split) -> str:
    key = hashlib.sha256()
    for text in split.texts:
        content = text.encode()
        key.update(b"%d:" % len(content) + content)
    return key.hexdigest()


def _tokenized(content: NDArray[np.int32], labels: NDArray[np.int64]) -> TokenizedSplit:
    lengths, ids = content[: len(labels)], content[len(labels) : -1]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    return TokenizedSplit(ids=ids, offsets=offsets, labels=labels)


def _encode(texts: Sequence[str], tokenizer: Tokenizer, max_length: int) -> NDArray[np.int32]:
    lengths: list[int] = []
    chunks: list[NDArray[np.int32]] = []
    for start in range(0, len(texts), _CHUNK):
        rows = tokenizer(texts[start : start + _CHUNK], max_length)
        lengths.extend(map(len, rows))
        chunks.extend(np.asarray(row, dtype="<i4") for row in rows)
    content = np.concatenate([np.array(lengths, dtype="<i4"), *chunks])
    content = np.concatenate([content, _checksum(content)])
    content.flags.writeable = False
    return content


def _open(path: Path, documents: int) -> NDArray[np.int32] | None:
    """The whole content of a cache file, or None where it is missing or not what was written."""
    try:
        content = np.memmap(path, dtype="<i4", mode="r")
    except (OSError, ValueError):  # ValueError: an empty file, or one that is no whole number of ids
        return None
    whole = (
        len(content) > documents
        and len(content) == documents + int(content[:documents].sum(dtype=np.int64)) + 1
    )
    return content if whole and content[-1] == _checksum(content[:-1])[0] else None


def _checksum(content: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.array([zlib.crc32(content.data)], dtype="<u4").view("<i4")  # (1,)
