"""What was read, in one sentence, and what is odd about it: people see a wrong column before they pay for it."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gloss_tune.data.dataset import Split, TextDataset, quoted
from gloss_tune.wording import count

_NOTHING = ("null", "nan", "none", "na", "n/a", "nil", "undefined", "unknown", "missing", "?", "-")


def account(dataset: TextDataset) -> str:
    """Documents of each split and where they came from, classes with their least and most, columns."""
    reading = dataset.reading
    sizes = []
    for name, what, split in (
        ("train", "to train", dataset.train),
        ("val", "to validate", dataset.val),
        ("test", "to test", dataset.test),
    ):
        if split is None:
            sizes.append("none to test")
            continue
        place = "held out of train" if name == "val" and reading.held_out else reading.files.get(name)
        sizes.append(f"{len(split):,} {'documents ' * (not sizes)}{what}" + (f" ({place})" if place else ""))
    counts = class_counts(dataset, dataset.train)
    least, most = int(counts.argmin()), int(counts.argmax())
    least_of = int(counts[least])
    said = (
        f"{', '.join(sizes)}; {len(dataset.classes)} classes, from {least_of:,} "
        f"{'document' if least_of == 1 else 'documents'} in train ({_short(dataset.classes[least])}) to "
        f"{counts[most]:,} ({_short(dataset.classes[most])})"
    )
    if reading.columns:
        *texts, label = reading.columns
        said += (
            f"; text from {'column' if len(texts) == 1 else 'columns'} {quoted(texts)}, label from {label!r}"
        )
    elif reading.own:
        said += "; each text from a file, its label from the folder"
    return said


def doubts(dataset: TextDataset) -> list[str]:
    """What may be wrong with the user's own data, one sentence each, with counts."""
    found = [*_odd_names(dataset), *_conflicts(dataset)]
    counts = class_counts(dataset, dataset.train)
    single = _names_where(dataset, counts == 1)
    if single:
        found.append(
            f"{_classes(single)} {'has' if len(single) == 1 else 'have'} a single document in train: {quoted(single)}. "
            "Too few to learn a class from."
        )
    unseen = _names_where(dataset, class_counts(dataset, dataset.val) == 0)
    if unseen:
        found.append(
            f"{_classes(unseen)} {'has' if len(unseen) == 1 else 'have'} no document in val: {quoted(unseen)}. No "
            f"trial is judged by {'it' if len(unseen) == 1 else 'them'}, and macro-F1 leaves "
            f"{'it' if len(unseen) == 1 else 'them'} out."
        )
    return found


def class_counts(dataset: TextDataset, split: Split) -> NDArray[np.int64]:
    """Int64 (C,), documents of each class."""
    return np.bincount(split.labels, minlength=len(dataset.classes))


def _names_where(dataset: TextDataset, mask: NDArray[np.bool_]) -> list[str]:
    return [dataset.classes[index] for index in np.flatnonzero(mask)]


def _odd_names(dataset: TextDataset) -> Iterator[str]:
    counts = class_counts(dataset, dataset.train)
    for name, number in zip(dataset.classes, counts.tolist(), strict=True):
        if dataset.reading.columns and name == dataset.reading.columns[-1]:
            yield (
                f"A class is called {name!r}, as its column is ({count(number, 'document')}): is the header there "
                "again, in the middle of a file?"
            )
        elif name.casefold() in _NOTHING:
            yield (
                f"A class is called {name!r} ({count(number, 'document')}): if this stands for no label, remove these "
                "documents."
            )
    alike: dict[str, list[str]] = defaultdict(list)
    for name in dataset.classes:
        alike["".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    for names in alike.values():
        if len(names) > 1:
            yield f"Classes {quoted(names)} differ in capitals or spaces only, or look the same: are they one?"
    lists = [name for name in dataset.classes if name[0] + name[-1] in ("[]", "{}", "()")]
    if lists:
        verb = "is" if len(lists) == 1 else "are"
        yield f"{_classes(lists)} {verb} written as lists: {quoted(lists)}. A document has one label."


def _conflicts(dataset: TextDataset) -> Iterator[str]:
    first: dict[str, int] = {}
    texts, labels = dataset.train.texts, dataset.train.labels.tolist()
    torn = {text for text, label in zip(texts, labels, strict=True) if first.setdefault(text, label) != label}
    if torn:
        documents = sum(text in torn for text in texts)
        yield (
            f"{count(len(torn), 'text')} of train {'has' if len(torn) == 1 else 'have'} several labels "
            f"({documents:,} documents): no model can be right on all of them."
        )


def _classes(names: Sequence[str]) -> str:
    return count(len(names), "class", "classes")


def _short(name: str) -> str:
    return repr(name if len(name) <= 40 else name[:37] + "…")
