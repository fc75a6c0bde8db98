"""A text data set in canonical form, checked to be fit for classification.

Canonical means: line ends are line feeds, white space around texts and labels is gone, and the documents of a
split stand in the order of their content hash. So the same documents give the same data set, the same
fingerprint and the same training run, whichever file format, column names, line ends or row order they came
in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gloss_tune.errors import DataError

SPLITS = ("train", "val", "test")

Document = tuple[str, str]
"""Text and label name."""


@dataclass(frozen=True, eq=False)
class Split:
    """Documents with their classes.

    Attributes:
        texts: N texts, in canonical order.
        labels: int64 (N,), indices into the data set's ``classes``; read-only.
    """

    texts: tuple[str, ...]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Reading:
    """How a data set came to be read, for people.

    Attributes:
        columns: those of the texts, and last that of the labels; none where each text is a file, or there are none.
        files: their names, by split.
        held_out: whether val was taken out of train, since there was no file of it.
        known: whether it is a data set known by name, which stays as it was published.
    """

    columns: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    held_out: bool = False
    known: bool = False

    @property
    def own(self) -> bool:
        """Whether it is the user's, who may want to hear what is odd about it."""
        return bool(self.files) and not self.known


@dataclass(frozen=True, eq=False)
class TextDataset:
    """A data set for single-label text classification.

    Attributes:
        name: a registered name, or the name of the user's folder or file.
        classes: C label names, sorted; C >= 2, each with at least one document in ``train``.
        train: what models are fitted to.
        val: what chooses between them.
        test: touched only where a final result is reported; None if the user gave none.
        fingerprint: content hash of all splits, 16 hexadecimal digits.
        source: where it came from, for people to read.
        warnings: what the user should know, one sentence each.
        reading: how it was read.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split | None
    fingerprint: str
    source: str
    warnings: tuple[str, ...]
    reading: Reading = field(default_factory=Reading)


def canonical(documents: Iterable[Document]) -> list[Document]:
    """The documents with tidy white space, in the order of their content hash.

    Hash order is as good as shuffled, whatever the order was before, so a file whose rows are sorted by class
    does no harm.
    """
    tidied = [(tidy(text), label.strip()) for text, label in documents]
    if not tidied:
        return []
    digests = bytearray()
    for document in tidied:
        digests += _digest(document)
    # as big-endian numbers they stand in the order of their bytes, in a tenth of the room of as many objects
    numbers = np.frombuffer(digests, dtype=">u8").reshape(-1, 4)
    return [tidied[place] for place in np.lexsort(numbers.T[::-1]).tolist()]


def tidy(text: str) -> str:
    """The text with line feeds as line ends, and without white space around it."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _digest(document: Document) -> bytes:
    text, label = document
    return hashlib.sha256(f"{label}\0{text}".encode()).digest()


def fingerprint(splits: Mapping[str, Sequence[Document]]) -> str:
    """Content hash of a data set, the same for every file format, column name and row order.

    Args:
        splits: canonical documents by the name of their split.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.
    """
    whole = hashlib.sha256()
    for name in SPLITS:
        if name in splits:
            whole.update(f"{name}:{len(splits[name])}\n".encode())
            for document in splits[name]:
                whole.update(_digest(document))
    return whole.hexdigest()[:16]


def build_dataset(
    name: str,
    source: str,
    splits: Mapping[str, Sequence[Document]],
    warnings: Sequence[str] = (),
    reading: Reading | None = None,
) -> TextDataset:
    """Checks canonical documents and makes a data set of them.

    Args:
        name: name of the data set.
        source: where the documents came from.
        splits: canonical documents of ``train``, ``val`` and, if there is one, ``test``.
        warnings: what is already known to be worth telling; texts shared between splits are added.
        reading: how it was read.

    Raises:
        DataError: fewer than two classes, or a class that ``train`` lacks.
    """
    classes = tuple(sorted({label for _, label in splits["train"]}))
    if len(classes) < 2:
        raise DataError(
            f"Classification needs at least two classes, but {source} has {len(classes)} in train"
            f"{''.join(f' ({label!r})' for label in classes)}. Check that the right column holds the labels."
        )
    for split in ("val", "test"):
        unknown = sorted({label for _, label in splits.get(split, ())} - set(classes))
        if unknown:
            raise DataError(
                f"Every class must occur in train, but {split} of {source} has {quoted(unknown)} and train "
                f"does not. Add training documents of "
                f"{'this class' if len(unknown) == 1 else 'these classes'}, or remove "
                f"{'it' if len(unknown) == 1 else 'them'} from {split}."
            )
    index = {label: number for number, label in enumerate(classes)}
    made = {split: _to_split(documents, index) for split, documents in splits.items()}
    return TextDataset(
        name=name,
        classes=classes,
        train=made["train"],
        val=made["val"],
        test=made.get("test"),
        fingerprint=fingerprint(splits),
        source=source,
        warnings=(*warnings, *_shared_texts(splits)),
        reading=reading or Reading(),
    )


def _to_split(documents: Sequence[Document], index: Mapping[str, int]) -> Split:
    labels = np.array([index[label] for _, label in documents], dtype=np.int64)
    labels.flags.writeable = False
    return Split(tuple(text for text, _ in documents), labels)


def _shared_texts(splits: Mapping[str, Sequence[Document]]) -> list[str]:
    later = {
        split: {text for text, _ in documents} for split, documents in splits.items() if split != "train"
    }
    shared = [
        (first, second, len({text for text, _ in splits[first] if text in later[second]}))
        for first, second in combinations([split for split in SPLITS if split in splits], 2)
    ]
    return [
        f"{count} text{'' if count == 1 else 's'} of {first} also occur{'s' if count == 1 else ''} in "
        f"{second}: scores on {second} flatter a model that remembers them."
        for first, second, count in shared
        if count
    ]


def quoted(names: Sequence[str], most: int = 10) -> str:
    """Names for a message: ``'a', 'b' and 3 more``."""
    head = ", ".join(repr(name) for name in names[:most])
    return head if len(names) <= most else f"{head} and {len(names) - most} more"
